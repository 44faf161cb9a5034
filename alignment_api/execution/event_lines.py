"""The events of a run as JSON lines in its folder, for people and to rebuild a store from."""

from __future__ import annotations

import os
from pathlib import Path

from essa.events import Event, read_event
from essa.ports import EventSink
from essa.storage.faults import writing

EVENTS_FILE = "events.jsonl"


class EventLines(EventSink):
    """Adds each event to the file, then passes it on.

    Args:
        inner: the sink that receives events next.
        run_dir: folder of the run.
    """

    def __init__(self, inner: EventSink, run_dir: Path) -> None:
        self._inner = inner
        self._path = run_dir / EVENTS_FILE
        if self._path.exists():
            # A killed process may have left half a line.
            os.truncate(self._path, len(_whole_lines(self._path)))

    def emit(self, event: Event) -> None:
        """Write an event to the file and pass it on."""
        with (
            writing(self._path.parent, "--run-dir"),
            self._path.open("a") as file,
        ):
            file.write(event.model_dump_json() + "\n")
        self._inner.emit(event)


def read_events(run_dir: Path) -> list[Event]:
    """Read the events in a run's file; empty if there is no file."""
    path = run_dir / EVENTS_FILE
    lines = _whole_lines(path).splitlines() if path.is_file() else []
    return [read_event(line) for line in lines]


def _whole_lines(path: Path) -> bytes:
    whole, end, _ = path.read_bytes().rpartition(b"\n")
    return whole + end
