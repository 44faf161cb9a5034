"""Runs without the service: where they are put, and the events that they have left."""

from __future__ import annotations

import re
import time
from pathlib import Path

from essa.events import Event, read_event

EVENTS_FILE = "events.jsonl"
"""In the folder of such a run, which has no store."""


def read_events(run_dir: Path) -> list[Event]:
    """The events of such a run so far."""
    path = run_dir / EVENTS_FILE
    if not path.is_file():
        return []
    # What follows the last end of a line is being written.
    whole = path.read_text(encoding="utf-8").rpartition("\n")[0]
    return [read_event(line) for line in whole.split("\n") if line]


def new_folder(parent: Path, name: str) -> Path:
    """A folder named after what runs in it, and the time; not made yet."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name)
    return parent / f"{plain}-{time.strftime('%Y%m%d-%H%M%S')}"
