"""Runs the queued jobs one after the other, each in a process of its own."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from pathlib import Path

from alignment_api.job_child import JobChild
from alignment_api.jobs.repository import JobRepository
from alignment_api.jobs.schemas import JobStatus
from alignment_api.settings import Settings
from alignment_api.store import Store

logger = logging.getLogger(__name__)

PROCESS_ENDED = "job_process_ended"
START_FAILED = "job_start_failed"

_RETRY_S = 1.0
_LOG_LINES = 15
_LOG_TAIL_BYTES = 16_384


class JobQueue:
    """A thread that starts the oldest queued job and watches it until it has ended.

    A running job of the store without a process is one that was interrupted; it is queued again
    and, being the oldest, starts first. Only one queue may serve a store: see `home.home_lock`.
    """

    def __init__(self, store: Store, settings: Settings) -> None:
        self._jobs = JobRepository(store)
        self._settings = settings
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="job-queue", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the running job in a way that it can resume, and end the thread. Blocking."""
        self._stopping.set()
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join()

    def notify(self) -> None:
        """A job was queued."""
        self._wake.set()

    def is_alive(self) -> bool:
        """True while jobs are started."""
        return self._thread.is_alive()

    def _loop(self) -> None:
        while not self._stopping.is_set():
            try:
                self._requeue("the service was stopped while this job ran")
                self._run_queued()
            except Exception:
                # The thread must outlive a full disk or a locked store; healthz shows those.
                logger.exception("the job queue failed; trying again in %s s", _RETRY_S)
                self._stopping.wait(_RETRY_S)

    def _run_queued(self) -> None:
        while True:
            # Cleared before looking: whoever sets it later ends the wait below.
            self._wake.clear()
            if self._stopping.is_set():
                return
            row = self._jobs.claim_next(free_slots=sys.maxsize)
            if row is None:
                self._wake.wait()
                continue
            self._run(row["id"])

    def _requeue(self, reason: str) -> None:
        for job_id in self._jobs.requeue_running(f"{reason}; it resumes from its checkpoint"):
            logger.info("job %s is queued again: %s", job_id, reason)

    def _run(self, job_id: str) -> None:
        log = self._settings.job_dir(job_id) / "job.log"
        logger.info("job %s starts; its log is %s", job_id, log)
        try:
            child = JobChild(self._argv(job_id), log)
        except OSError as error:
            message = f"the job process cannot be started: {error}; see ESSA_JOB_COMMAND"
            self._jobs.fail(job_id, START_FAILED, message)
            return
        try:
            while child.exit_status(self._settings.poll_s) is None:
                if self._stopping.is_set():
                    child.stop(self._settings.shutdown_grace_s)
                    self._requeue("the service is stopping")
                    return
                if self._is_past_grace(job_id):
                    logger.warning("job %s did not stop when cancelled; killing it", job_id)
                    break
        finally:
            child.kill()
        self._settle(job_id, child.exit_status(), log)

    def _argv(self, job_id: str) -> list[str]:
        settings = self._settings
        command = settings.job_command or (sys.executable, "-m", "alignment_api.job_process")
        given = ["--home", str(settings.home), "--job-id", job_id, "--parent", str(os.getpid())]
        return [*command, *given]

    def _is_past_grace(self, job_id: str) -> bool:
        asked_at = self._jobs.stop_requested_at(job_id)
        return asked_at is not None and time.time() - asked_at > self._settings.cancel_grace_s

    def _settle(self, job_id: str, exit_status: int | None, log: Path) -> None:
        """Give a job whose process has ended its final state, if the process did not."""
        row = self._jobs.get(job_id)
        if row["status"] == JobStatus.RUNNING and self._jobs.stop_requested_at(job_id) is not None:
            self._jobs.stop(job_id)
        elif row["status"] == JobStatus.RUNNING:
            self._jobs.fail(job_id, PROCESS_ENDED, _ending(exit_status, log))
        logger.info("job %s has %s", job_id, self._jobs.get(job_id)["status"])


def _ending(exit_status: int | None, log: Path) -> str:
    how = f"with status {exit_status}"
    if exit_status is not None and exit_status < 0:
        how = f"by signal {-exit_status}"
        if exit_status == -9:
            how += " (perhaps out of memory)"
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _LOG_TAIL_BYTES))
        tail = file.read().decode(errors="replace").splitlines()[-_LOG_LINES:]
    lines = "\n".join(tail)
    return f"the job process ended {how} without a result; the end of {log}:\n{lines}"
