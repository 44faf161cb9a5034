"""Run jobs in this process, without the service, shown as they go."""

from __future__ import annotations

import hashlib
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TextIO

from rich.console import Console

from alignment_api import composition
from alignment_api.cli.terminal.live import LiveView
from alignment_api.composition import RunJob
from alignment_api.execution.run_folder import EVENTS_FILE
from alignment_api.files.offline import uploaded_files
from alignment_api.forwarders.base import ForwardedRun
from alignment_api.forwarders.opening import forwarding_sink
from alignment_api.settings import Settings
from essa.errors import JobCancelledError
from essa.events import Event, ResultEvent
from essa.ports import EventSink, RunControl, RunSite
from essa.spec import AlignmentJobSpec
from essa.storage.faults import writing

_FORWARDING_WAIT_S = 30.0


def run_here(
    spec: AlignmentJobSpec,
    settings: Settings,
    run_dir: Path,
    console: Console,
    run_job: RunJob | None = None,
) -> ResultEvent:
    """Run a job; its events are shown, and kept in `events.jsonl` of the run's folder.

    Args:
        spec: the job.
        settings: where models are kept, and what rewards may do.
        run_dir: folder of the run; one with a checkpoint is resumed.
        console: where events are shown.
        run_job: what runs it; None is `composition.run_job`.
    Raises:
        JobCancelledError: interrupted; the run can be resumed.
        EssaError: the job cannot be done.
    """
    with writing(settings.cache_dir, "ESSA_HOME"):
        settings.cache_dir.mkdir(parents=True, exist_ok=True)
    _drop_half_a_line(run_dir / EVENTS_FILE)
    with LiveView(console, spec.name) as view, (run_dir / EVENTS_FILE).open("a") as file:
        forwarded = ForwardedRun(_run_id(run_dir), spec, run_dir)
        sink = forwarding_sink(_ShownAndKept(view, file), forwarded)
        status = "failed"
        try:
            with interruptible(view) as control:
                files = uploaded_files(settings)
                site = RunSite(run_dir, settings.cache_dir, sink, control, files)
                run = run_job or composition.run_job
                result = run(spec, site, settings.reward_policy)
            status = "succeeded"
            return result
        except JobCancelledError:
            status = "paused"
            raise
        finally:
            sink.close(status, _FORWARDING_WAIT_S)


def _drop_half_a_line(path: Path) -> None:
    """A process that was killed may have left one; the next event must not be glued to it."""
    if path.exists():
        content = path.read_bytes()
        whole = content.rpartition(b"\n")
        if whole[2]:
            os.truncate(path, len(content) - len(whole[2]))


@contextmanager
def interruptible(view: LiveView) -> Iterator[RunControl]:
    """Ctrl-C cancels what runs under this control; the second ends the process."""
    control = _InterruptControl(view)
    earlier = signal.signal(signal.SIGINT, control.on_interrupt)
    try:
        yield control
    finally:
        signal.signal(signal.SIGINT, earlier)


def _run_id(run_dir: Path) -> str:
    """The same for every start of this run, and another one for every other folder."""
    return f"local-{hashlib.sha256(str(run_dir.absolute()).encode()).hexdigest()[:16]}"


class ShownEvents(EventSink):
    """Shows every event, and nothing else."""

    def __init__(self, view: LiveView) -> None:
        self._view = view

    def emit(self, event: Event) -> None:
        """Show one event."""
        self._view.on_event(event)


class _ShownAndKept(ShownEvents):
    def __init__(self, view: LiveView, file: TextIO) -> None:
        super().__init__(view)
        self._file = file
        self._folder = Path(file.name).parent

    def emit(self, event: Event) -> None:
        """Show one event and write it down."""
        with writing(self._folder, "--run-dir"):
            self._file.write(event.model_dump_json() + "\n")
            self._file.flush()
        super().emit(event)


class _InterruptControl(RunControl):
    """Cancelled by the first Ctrl-C; the second ends the process the usual way."""

    def __init__(self, view: LiveView) -> None:
        self._is_cancelled = False
        self._view = view

    def is_cancelled(self) -> bool:
        """True after the first Ctrl-C."""
        return self._is_cancelled

    def on_interrupt(self, number: int, frame: FrameType | None) -> None:
        """Handle SIGINT."""
        if self._is_cancelled:
            raise KeyboardInterrupt
        self._is_cancelled = True
        self._view.note("stopping; interrupt again to stop at once")


@contextmanager
def output_to(log: Path) -> Iterator[TextIO]:
    """Send what this process and its children print to a file; yield the real standard output."""
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
            # A log on a full disk must not keep the user from seeing why the run ended.
            with suppress(OSError):
                stream.flush()
        for descriptor, copy in zip((1, 2), kept, strict=True):
            os.dup2(copy, descriptor)
            os.close(copy)
        os.close(target)
