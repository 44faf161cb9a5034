"""What lies in the folder of a run, and where runs without the service are put."""

from __future__ import annotations

import re
import time
from pathlib import Path

from essa.events import Event, event_adapter

ADAPTER_FOLDER = "adapter"
WARM_START_FOLDER = "warm_start"
PROVENANCE_FILE = "provenance.json"
"""What the run was made from; there once it has begun."""
RESULT_FILE = "result.json"
"""There once it has come to its end."""
EVENTS_FILE = "events.jsonl"
"""Of runs without the service, which have no store."""


def read_events(run_dir: Path) -> list[Event]:
    """The events of a run without the service so far."""
    path = run_dir / EVENTS_FILE
    if not path.is_file():
        return []
    # What follows the last end of a line is being written.
    whole = path.read_text(encoding="utf-8").rpartition("\n")[0]
    return [event_adapter.validate_json(line) for line in whole.split("\n") if line]


def new_folder(parent: Path, name: str) -> Path:
    """A folder named after what runs in it, and the time; not made yet."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name)
    return parent / f"{plain}-{time.strftime('%Y%m%d-%H%M%S')}"
