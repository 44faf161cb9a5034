"""Base models on disk: found or fetched, prepared once, quantised once."""
