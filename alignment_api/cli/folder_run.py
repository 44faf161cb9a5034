"""Run a job in a folder, without the service, shown as it goes."""

from __future__ import annotations

import re
import time
from pathlib import Path

from rich.console import Console

from alignment_api.cli.in_process import interruptible
from alignment_api.cli.terminal.live import LiveView
from alignment_api.execution.private_home import ONLY_JOB, PrivateHome
from alignment_api.settings import Settings
from alignment_api.store.job_status import JobStatus
from essa.errors import JobCancelledError, error_of
from essa.events import Event, ResultEvent
from essa.spec import AlignmentJobSpec


def run_in_folder(
    spec: AlignmentJobSpec, settings: Settings, run_dir: Path, console: Console
) -> ResultEvent:
    """Run a job in a process of its own; what it prints goes to `job.log` in the run's folder.

    The first Ctrl-C pauses it, the second ends it at once.

    Args:
        spec: the job.
        settings: of the user.
        run_dir: folder of the run; one with a checkpoint is resumed.
        console: where events are shown.
    Raises:
        HomeInUseError: another process runs this folder.
        JobCancelledError: interrupted; the run can be resumed.
        EssaError: the job cannot be done.
    """
    with PrivateHome(run_dir, settings) as home, home.lock:
        home.take_up(ONLY_JOB, spec)
        home.jobs.restart(ONLY_JOB, spec)
        (job,) = home.claimed()
        with LiveView(console, spec.name) as view, interruptible(view) as control:
            job = home.run_job(job, view.on_event, control.is_cancelled)
    if job.status is JobStatus.PAUSED:
        raise JobCancelledError(f"{spec.name} was interrupted")
    if job.status is JobStatus.FAILED:
        raise error_of(job.error_code, job.error_message)
    return ResultEvent.model_validate(job.result)


def events_in_folder(spec: AlignmentJobSpec, settings: Settings, run_dir: Path) -> list[Event]:
    """The events of a run so far, whatever version it was run by."""
    with PrivateHome(run_dir, settings) as home:
        home.take_up(ONLY_JOB, spec)
        return home.all_events(ONLY_JOB)


def new_folder(parent: Path, name: str) -> Path:
    """A folder named after what runs in it, and the time; not made yet."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name)
    return parent / f"{plain}-{time.strftime('%Y%m%d-%H%M%S')}"
