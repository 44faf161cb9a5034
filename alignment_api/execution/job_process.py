"""The process of one job: `python -m alignment_api.execution.job_process --home H --job-id ID`.

For a job of a private home, `--folder F` names the home's folder.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from alignment_api import composition
from alignment_api.composition import RunJob
from alignment_api.doctor.preflight import require_machine
from alignment_api.execution.event_lines import EventLines
from alignment_api.execution.private_home import FolderSettings
from alignment_api.files.offline import uploaded_files
from alignment_api.forwarders.base import ForwardedRun
from alignment_api.forwarders.opening import forwarding_sink
from alignment_api.forwarders.sink import ForwardingSink
from alignment_api.jobs.events import EventRepository, StoreControl, StoreSink
from alignment_api.jobs.repository import JobRepository
from alignment_api.observability.logs import configure_logging
from alignment_api.processes.folder_lock import FolderLock
from alignment_api.processes.lifetime import INTERRUPTED, die_with_parent, unwind_on_terminate
from alignment_api.processes.ownership import check_package_owners
from alignment_api.processes.user_environment import complete_environment
from alignment_api.settings import Settings
from alignment_api.store import Store
from alignment_api.store.job_status import JobStatus
from essa.errors import EssaError, JobCancelledError, MachineError, StorageError
from essa.ports import EventSink, RunSite
from essa.storage.faults import full_disk

logger = logging.getLogger(__name__)

INTERNAL_ERROR = "internal_error"

_LOCK_WAIT_S = 60.0


def main(argv: Sequence[str] | None = None, run_job: RunJob = composition.run_job) -> int:
    """Run the job named on the command line and record how it ended.

    Args:
        argv: `--home`, `--folder` of a private home, `--job-id`, and `--parent`, the process that
            this one must not outlive.
        run_job: function that runs the job.
    Returns:
        0 once the job has a final state, whichever it is; 1 if there was no job to run.
    """
    parser = argparse.ArgumentParser(
        prog="alignment_api.execution.job_process", description=__doc__
    )
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--folder", type=Path, default=None)
    parser.add_argument("--job-id", required=True)
    parser.add_argument("--parent", type=int, default=None)
    arguments = parser.parse_args(argv)
    complete_environment(os.environ, arguments.home)
    settings = Settings.from_environment(os.environ, home=arguments.home)
    if arguments.folder is not None:
        settings = FolderSettings.of(settings, arguments.folder)
    configure_logging(settings, job_id=arguments.job_id)
    # Stops the run's workers; the job stays unfinished and can resume.
    unwind_on_terminate()
    if arguments.parent is not None:
        die_with_parent(arguments.parent)
    # A predecessor, orphaned when the service crashed, may need a moment to exit.
    lock = FolderLock(settings.job_dir(arguments.job_id) / "run.lock")
    try:
        lock.acquire(_LOCK_WAIT_S)
    except StorageError as error:
        store = Store(settings.jobs_url, is_migrating=False)
        JobRepository(store).fail(arguments.job_id, error.code, error.message)
        return os.EX_OK
    try:
        return _run(settings, arguments.job_id, run_job)
    finally:
        lock.release()


def _run(settings: Settings, job_id: str, run_job: RunJob) -> int:
    store = Store(settings.jobs_url, is_migrating=False)
    jobs = JobRepository(store)
    status = jobs.get(job_id).status
    if status != JobStatus.RUNNING:
        logger.error("job %s is %s, not running; nothing to do", job_id, status)
        return 1
    with ExitStack() as at_end:
        _run_to_its_state(settings, store, jobs, job_id, run_job, at_end)
    logger.info("job %s has %s", job_id, jobs.get(job_id).status)
    return os.EX_OK


def _run_to_its_state(
    settings: Settings,
    store: Store,
    jobs: JobRepository,
    job_id: str,
    run_job: RunJob,
    at_end: ExitStack,
) -> None:
    try:
        check_package_owners()
        spec = jobs.spec(job_id)
        require_machine(spec, settings)
        site = _site(settings, store, jobs, job_id)
        run = ForwardedRun(settings.shown_id(job_id), spec, site.run_dir)
        sink = forwarding_sink(site.sink, run)
        at_end.callback(_close, sink, jobs, job_id, settings.forwarding_wait_s)
        with sink:
            result = run_job(spec, replace(site, sink=sink), settings.reward_policy)
    except JobCancelledError:
        jobs.stop(job_id)
    except MachineError as error:
        logger.error("the job failed: %s", error.message)
        jobs.fail(job_id, error.code, error.message)
    except Exception as error:
        logger.exception("the job failed")
        told = full_disk(error, [settings.home, settings.job_dir(job_id)]) or error
        if isinstance(told, EssaError):
            jobs.fail(job_id, told.code, told.message)
            return
        log = settings.job_dir(job_id) / "job.log"
        reason = str(error).partition("\n")[0]
        message = f"{type(error).__name__}: {reason}; the traceback is in {log}"
        jobs.fail(job_id, INTERNAL_ERROR, message)
    else:
        jobs.succeed(job_id, result)


def _site(settings: Settings, store: Store, jobs: JobRepository, job_id: str) -> RunSite:
    run_dir = settings.run_dir(job_id)
    run_dir.mkdir(parents=True, exist_ok=True)
    settings.cache_dir.mkdir(parents=True, exist_ok=True)
    sink: EventSink = StoreSink(EventRepository(store), job_id)
    if isinstance(settings, FolderSettings):
        sink = EventLines(sink, run_dir)
    control = StoreControl(jobs, job_id)
    return RunSite(run_dir, settings.cache_dir, sink, control, uploaded_files(settings))


def _close(sink: ForwardingSink, jobs: JobRepository, job_id: str, wait_s: float) -> None:
    # The job's state is stored; a stopping service waits longer than this takes.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    status = jobs.get(job_id).status
    if not sink.close(status, wait_s):
        # On a normal exit, the libraries would wait for their threads without limit.
        logger.warning("integrations did not finish within %s s", wait_s)
        logging.shutdown()
        os._exit(INTERRUPTED if status == JobStatus.RUNNING else os.EX_OK)


if __name__ == "__main__":
    sys.exit(main())
