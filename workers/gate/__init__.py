"""The adapter-correctness gate: no search starts on an engine that runs adapters wrongly."""
