"""Run a job in a folder, without the service, and show its progress."""

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
    """Run a job in its own process, whose output goes to `job.log` in the run's folder.

    The first Ctrl-C pauses the job, the second ends it at once.

    Args:
        spec: the job.
        settings: the user's settings.
        run_dir: the run's folder; a run with a checkpoint is resumed.
        console: where events are shown.
    Raises:
        HomeInUseError: another process runs this folder.
        JobCancelledError: interrupted; the run can be resumed.
        EssaError: the job failed.
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
    """Return a run's events so far, whichever version wrote them."""
    with PrivateHome(run_dir, settings) as home:
        home.take_up(ONLY_JOB, spec)
        return home.all_events(ONLY_JOB)


def new_folder(parent: Path, name: str) -> Path:
    """Return the path of a new folder, named after its content and the time; does not create it."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name)
    return parent / f"{plain}-{time.strftime('%Y%m%d-%H%M%S')}"
