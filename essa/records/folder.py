"""Names of files and folders in a run's folder, shared by their writers and readers."""

from __future__ import annotations

ADAPTER_FOLDER = "adapter"
WARM_START_FOLDER = "warm_start"
PROVENANCE_FILE = "provenance.json"
"""File with the origin of the run's inputs; written when the run begins."""
FORMATS_FILE = "formats.json"
"""File with the run's number formats; written when the run begins."""
RESULT_FILE = "result.json"
"""File with the run's result; written when the run ends."""
