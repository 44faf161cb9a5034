"""What lies in the folder of a run, by the names that its writers and its readers share."""

from __future__ import annotations

ADAPTER_FOLDER = "adapter"
WARM_START_FOLDER = "warm_start"
PROVENANCE_FILE = "provenance.json"
"""What the run was made from; there once it has begun."""
FORMATS_FILE = "formats.json"
"""What the run computes in; there once it has begun."""
RESULT_FILE = "result.json"
"""There once it has come to its end."""
