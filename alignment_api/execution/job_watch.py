"""Watch one run of a job's process until it ends."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from alignment_api.jobs.repository import JobRepository
from alignment_api.observability.context import JOB_ID
from alignment_api.processes.child import JobChild, last_lines
from alignment_api.processes.devices import Share
from alignment_api.settings import Settings
from alignment_api.store.job_status import JobStatus
from essa.errors import StorageError
from essa.storage.faults import free_bytes, no_room

logger = logging.getLogger(__name__)

PROCESS_ENDED = "job_process_ended"
START_FAILED = "job_start_failed"

_LITTLE_BYTES = 4 * 2**20
_LOG_LINES = 15
_LOG_TAIL_BYTES = 16_384


class JobRun:
    """Starts a job's process, and sets the job's final state if the process did not.

    Args:
        job_id: a job that was claimed.
        start: number of this start of the job, counted from 1.
        share: the job's share of the machine.
        stopping: set when the service stops; the job then stays running in the store.
        on_look: called a few times a second while the process runs.
    """

    def __init__(
        self,
        job_id: str,
        start: int,
        share: Share,
        jobs: JobRepository,
        settings: Settings,
        stopping: threading.Event,
        on_look: Callable[[], None] = lambda: None,
    ) -> None:
        self.job_id = job_id
        self._start = start
        self._share = share
        self._jobs = jobs
        self._settings = settings
        self._stopping = stopping
        self._on_look = on_look

    def run(self) -> None:
        """Start the process and wait for its end. Blocking."""
        job_id, settings = self.job_id, self._settings
        JOB_ID.set(job_id)  # set for this thread, which watches no other job
        log = settings.job_dir(job_id) / "job.log"
        logger.info("job %s starts; its log is %s", job_id, log)
        try:
            child = JobChild(self._argv(), log, self._share)
        except OSError as error:
            message = f"the job process cannot be started: {error}; see ESSA_JOB_COMMAND"
            self._jobs.fail(job_id, START_FAILED, message)
            return
        try:
            while child.exit_status(settings.poll_s) is None:
                self._on_look()
                if self._stopping.is_set():
                    child.stop(settings.shutdown_grace_s)
                    return
                if self._is_past_grace():
                    logger.warning("job %s did not stop when asked to; killing it", job_id)
                    break
        except BaseException:
            child.stop(settings.shutdown_grace_s)
            raise
        finally:
            child.kill()
        self._settle(child.exit_status(), log)

    def _argv(self) -> list[str]:
        settings = self._settings
        command = settings.job_command or (
            sys.executable,
            "-m",
            "alignment_api.execution.job_process",
        )
        given = ["--job-id", self.job_id, "--parent", str(os.getpid())]
        return [*command, *settings.job_arguments, *given]

    def _is_past_grace(self) -> bool:
        asked_at = self._jobs.stop_requested_at(self.job_id)
        return asked_at is not None and time.time() - asked_at > self._settings.cancel_grace_s

    def _settle(self, exit_status: int | None, log: Path) -> None:
        job = self._jobs.get(self.job_id)
        # If the job was resumed while this process was ending, another process may already run it.
        is_ours = job.starts == self._start and job.status is JobStatus.RUNNING
        if is_ours and self._jobs.stop_requested_at(self.job_id) is not None:
            self._jobs.stop(self.job_id)
        elif is_ours:
            self._jobs.fail(self.job_id, *self._cause(exit_status, log))
        logger.info("job %s is %s", self.job_id, self._jobs.get(self.job_id).status)

    def _cause(self, exit_status: int | None, log: Path) -> tuple[str, str]:
        """Return error code and message for a job whose process reported none."""
        folder = log.parent
        if free_bytes(folder) < _LITTLE_BYTES:
            # On a full disk, the process could not have stored its reason, whatever it was.
            reason = no_room(folder, "ESSA_HOME, --run-dir or --out")
            return StorageError.code, f"the job process ended: {reason}"
        return PROCESS_ENDED, _ending(exit_status, log)


def _ending(exit_status: int | None, log: Path) -> str:
    how = f"with status {exit_status}"
    if exit_status is not None and exit_status < 0:
        how = f"by signal {-exit_status}"
        if exit_status == -9:
            how += " (perhaps out of memory)"
    lines = last_lines(log, _LOG_LINES, _LOG_TAIL_BYTES)
    return f"the job process ended {how} without a result; the end of {log}:\n{lines}"
