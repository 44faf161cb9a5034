"""Run queued jobs, as many at once as there are slots for, each in its own process."""

from __future__ import annotations

import logging
import threading

from alignment_api.errors import StoreError
from alignment_api.execution.job_watch import JobRun
from alignment_api.jobs.repository import JobRepository
from alignment_api.processes.devices import Devices, SlotTable
from alignment_api.settings import Settings
from alignment_api.store import Store
from alignment_api.store.job_status import JobStatus

logger = logging.getLogger(__name__)

_RETRY_S = 1.0


class JobQueue:
    """Starts queued jobs while slots are free: one thread, and one more per running job.

    A running job in the store that has no process was interrupted; it is queued again and, being
    older, starts before others of its priority. Only one queue may serve a store: see
    `folder_lock.home_lock`.

    Args:
        store: the store of the jobs.
        settings: the service's settings.
        devices: the devices that the jobs share.
    """

    def __init__(self, store: Store, settings: Settings, devices: Devices) -> None:
        self._jobs = JobRepository(store)
        self._settings = settings
        self._devices = devices
        self._slots = SlotTable(devices.slots)
        self._giving_out = threading.Lock()
        self._is_waiting = False
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._has_lost = threading.Event()
        self._has_lost.set()
        self._running: dict[threading.Thread, str] = {}
        self._thread = threading.Thread(target=self._loop, name="job-queue", daemon=True)

    @property
    def slots(self) -> int:
        """Number of engine slots, free and taken."""
        return self._devices.slots

    @property
    def free_slots(self) -> int:
        """Number of engine slots that nothing holds."""
        return self._slots.free

    @property
    def is_waiting(self) -> bool:
        """Whether a queued job is waiting because too few slots are free."""
        return self._is_waiting and self._jobs.count(JobStatus.QUEUED) > 0

    def borrow(self, count: int) -> tuple[int, ...]:
        """Hold `count` slots for work other than jobs; empty if too few are free or a job waits."""
        with self._giving_out:
            if self.is_waiting or self._slots.free < count:
                return ()
            return self._slots.take(count)

    def give_back(self, slots: tuple[int, ...]) -> None:
        """Free borrowed slots."""
        self._slots.give_back(slots)
        self._wake.set()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the running jobs, resumably, and end the threads. Blocking."""
        self._stopping.set()
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join()

    def notify(self) -> None:
        """Signal that a job was queued."""
        self._wake.set()

    def is_alive(self) -> bool:
        """Whether the queue's thread is running."""
        return self._thread.is_alive()

    def _loop(self) -> None:
        while not self._stopping.is_set():
            try:
                self._start_queued()
            except Exception:
                # The thread must outlive a full disk or a locked store; healthz shows those.
                logger.exception("the job queue failed; trying again in %s s", _RETRY_S)
                self._stopping.wait(_RETRY_S)
        for thread in list(self._running):
            thread.join()
        try:
            self._requeue("the service is stopping")
        except StoreError:
            # The jobs are queued again when the service starts.
            logger.exception("running jobs stay marked as running")

    def _start_queued(self) -> None:
        while not self._stopping.is_set():
            # Cleared before looking, so that a later `set` ends the wait below.
            self._wake.clear()
            if self._has_lost.is_set():
                self._has_lost.clear()
                self._requeue("the service was stopped while this job ran")
            if not self._start_next():
                self._wake.wait()

    def _start_next(self) -> bool:
        with self._giving_out:
            job = self._jobs.claim_next(self._slots.free, self._devices.slots)
            self._is_waiting = job is None
            if job is None:
                return False
            slots = self._slots.take(job.slots)
        run = JobRun(
            job.id,
            job.starts + 1,
            self._devices.share(slots),
            self._jobs,
            self._settings,
            self._stopping,
        )
        name = f"job-{job.id}"
        thread = threading.Thread(target=self._watch, args=(run, slots), name=name, daemon=True)
        self._running[thread] = job.id
        thread.start()
        return True

    def _watch(self, run: JobRun, slots: tuple[int, ...]) -> None:
        is_lost = False
        try:
            run.run()
        except Exception:
            # The job's process is gone; the job is queued again.
            logger.exception("job %s cannot be watched; trying again", run.job_id)
            self._stopping.wait(_RETRY_S)
            is_lost = True
        del self._running[threading.current_thread()]
        self._slots.give_back(slots)
        if is_lost:
            self._has_lost.set()
        self._wake.set()

    def _requeue(self, reason: str) -> None:
        message = f"{reason}; it resumes from its checkpoint"
        watched = list(self._running.values())
        for job_id in self._jobs.requeue_running(message, alive=watched):
            logger.info("job %s is queued again: %s", job_id, reason)
