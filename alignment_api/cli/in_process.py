"""Ctrl-C, events and printed output during long work in this process."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TextIO

from alignment_api.cli.terminal.live import LiveView
from essa.events import Event
from essa.ports import EventSink, RunControl


@contextmanager
def interruptible(view: LiveView) -> Iterator[RunControl]:
    """Yield a control that the first Ctrl-C cancels; the second Ctrl-C ends the process."""
    control = _InterruptControl(view)
    earlier = signal.signal(signal.SIGINT, control.on_interrupt)
    try:
        yield control
    finally:
        signal.signal(signal.SIGINT, earlier)


class ShownEvents(EventSink):
    """Shows every event; stores none."""

    def __init__(self, view: LiveView) -> None:
        self._view = view

    def emit(self, event: Event) -> None:
        """Show one event."""
        self._view.on_event(event)


class _InterruptControl(RunControl):
    """Cancelled by the first Ctrl-C; the second ends the process as usual."""

    def __init__(self, view: LiveView) -> None:
        self._is_cancelled = False
        self._view = view

    def is_cancelled(self) -> bool:
        """Return whether Ctrl-C was pressed."""
        return self._is_cancelled

    def on_interrupt(self, number: int, frame: FrameType | None) -> None:
        """Handle SIGINT."""
        if self._is_cancelled:
            raise KeyboardInterrupt
        self._is_cancelled = True
        self._view.note("stopping; interrupt again to stop at once")


@contextmanager
def output_to(log: Path) -> Iterator[TextIO]:
    """Redirect the output of this process and its children to a file; yield the real stdout."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(1), os.dup(2)]
    target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    screen = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(target, 1)
    os.dup2(target, 2)
    try:
        yield screen
    finally:
        screen.close()
        for stream in (sys.stdout, sys.stderr):
            # A log on a full disk must not hide from the user why the run ended.
            with suppress(OSError):
                stream.flush()
        for descriptor, copy in zip((1, 2), kept, strict=True):
            os.dup2(copy, descriptor)
            os.close(copy)
        os.close(target)
