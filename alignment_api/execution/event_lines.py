"""The events of a run as lines of JSON in its folder, for people and for a store that begins."""

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
        inner: where events go next.
        run_dir: folder of the run.
    """

    def __init__(self, inner: EventSink, run_dir: Path) -> None:
        self._inner = inner
        self._path = run_dir / EVENTS_FILE
        if self._path.exists():
            # A process that was killed may have left half a line.
            os.truncate(self._path, len(_whole_lines(self._path)))

    def emit(self, event: Event) -> None:
        """Write one event down and pass it on."""
        with (
            writing(self._path.parent, "--run-dir"),
            self._path.open("a") as file,
        ):
            file.write(event.model_dump_json() + "\n")
        self._inner.emit(event)


def read_events(run_dir: Path) -> list[Event]:
    """The events in the file of a run; none where there is no file."""
    path = run_dir / EVENTS_FILE
    lines = _whole_lines(path).splitlines() if path.is_file() else []
    return [read_event(line) for line in lines]


def _whole_lines(path: Path) -> bytes:
    whole, end, _ = path.read_bytes().rpartition(b"\n")
    return whole + end
