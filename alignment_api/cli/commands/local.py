"""`essa run`: a job in this process, without the service."""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TextIO

from rich.console import Console

from alignment_api import composition
from alignment_api.cli.live import LiveView, print_result
from alignment_api.cli.offline import uploaded_files
from alignment_api.home import FolderLock
from alignment_api.jobs.checks import find_problems
from alignment_api.ownership import check_package_owners
from alignment_api.settings import Settings
from essa.errors import JobCancelledError
from essa.events import Event, ResultEvent
from essa.ports import EventSink, RunControl
from essa.spec import AlignmentJobSpec
from essa.spec.file import load_job_file, problem_error


class _ViewSink(EventSink):
    def __init__(self, view: LiveView) -> None:
        self._view = view

    def emit(self, event: Event) -> None:
        """Show one event."""
        self._view.on_event(event)


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


def run(arguments: argparse.Namespace) -> int:
    """Run the job, showing it live; the output of engines goes to `job.log` in the run folder."""
    settings = Settings.from_environment(os.environ, home=arguments.home)
    check_package_owners()
    spec = load_job_file(arguments.job_file, arguments.overrides)
    problems = find_problems(spec, uploaded_files(settings), settings.reward_policy)
    if problems:
        raise problem_error(problems)
    run_dir = (arguments.run_dir or _new_run_dir(settings, spec.name)).absolute()
    run_dir.mkdir(parents=True, exist_ok=True)
    log = run_dir / "job.log"
    with FolderLock(run_dir / "run.lock"), _output_to(log) as screen:
        console = Console(file=screen)
        console.print(f"{spec.name} runs in {run_dir}", highlight=False, soft_wrap=True)
        try:
            result = _run(spec, settings, run_dir, console)
        except JobCancelledError:
            again = f"essa run {arguments.job_file} --run-dir {run_dir}"
            console.print(f"stopped; go on with: {again}", highlight=False, soft_wrap=True)
            return 1
        print_result(result, console)
    return 0


def _run(
    spec: AlignmentJobSpec, settings: Settings, run_dir: Path, console: Console
) -> ResultEvent:
    settings.cache_dir.mkdir(parents=True, exist_ok=True)
    with LiveView(console, spec.name) as view:
        control = _InterruptControl(view)
        earlier = signal.signal(signal.SIGINT, control.on_interrupt)
        try:
            return composition.run_job(
                spec,
                run_dir=run_dir,
                cache_dir=settings.cache_dir,
                sink=_ViewSink(view),
                control=control,
                resolve_file=uploaded_files(settings),
                reward_policy=settings.reward_policy,
            )
        finally:
            signal.signal(signal.SIGINT, earlier)


def _new_run_dir(settings: Settings, name: str) -> Path:
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name)
    return settings.home / "runs" / f"{plain}-{time.strftime('%Y%m%d-%H%M%S')}"


@contextmanager
def _output_to(log: Path) -> Iterator[TextIO]:
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
        sys.stdout.flush()
        sys.stderr.flush()
        for descriptor, copy in zip((1, 2), kept, strict=True):
            os.dup2(copy, descriptor)
            os.close(copy)
        os.close(target)
