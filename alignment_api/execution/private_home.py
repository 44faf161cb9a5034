"""A private home: a folder's jobs in a store of their own, run without the service."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Self

from alignment_api.auth.keys import KeyRepository
from alignment_api.execution.event_lines import read_events
from alignment_api.execution.job_watch import JobRun
from alignment_api.jobs.events import EventRepository
from alignment_api.jobs.insertion import NewJob, add_job, append_event
from alignment_api.jobs.repository import JobRepository
from alignment_api.processes.devices import Share
from alignment_api.processes.folder_lock import FolderLock
from alignment_api.settings import Settings, sqlite_url
from alignment_api.store import Store
from alignment_api.store.stored_job import StoredJob
from essa.errors import JobConflictError, JobNotFoundError
from essa.events import ErrorEvent, Event, ResultEvent
from essa.spec import AlignmentJobSpec

ONLY_JOB = "."
"""Id of the job whose run folder is the private home itself."""

_STORE = ".essa/store.sqlite3"
_LOCK = ".essa/lock"
_ALL = 2**31


class FolderSettings(Settings):
    """Settings for jobs of a private home; models and uploaded files are still in `home`."""

    folder: Path
    """Folder that holds the runs. A job's id is the path of its run within this folder."""

    @classmethod
    def of(cls, settings: Settings, folder: Path) -> FolderSettings:
        """Derive settings for the jobs of a folder from the user's settings."""
        return cls.model_validate(dict(settings) | {"folder": folder.absolute()})

    @property
    def jobs_url(self) -> str:
        """Database URL of the folder's own store."""
        return sqlite_url(self.folder / _STORE)

    @property
    def forwarding_wait_s(self) -> float:
        """Seconds that integrations get after a job ends."""
        return 30.0

    @property
    def job_arguments(self) -> list[str]:
        """Command-line arguments for a job's process, with the folder."""
        return [*super().job_arguments, "--folder", str(self.folder)]

    def shown_id(self, job_id: str) -> str:
        """Return an id that is the same for every start of a run, and unique to the folder."""
        place = str(self.run_dir(job_id)).encode()
        return f"local-{hashlib.sha256(place).hexdigest()[:16]}"

    def job_dir(self, job_id: str) -> Path:
        """Return the folder of one job: its log, its lock, and the run's own files."""
        return self.folder / job_id

    def run_dir(self, job_id: str) -> Path:
        """Return the folder that a job's run writes to, the same as its `job_dir`."""
        return self.job_dir(job_id)


class PrivateHome:
    """The jobs of a folder, run one at a time with the whole machine.

    The caller holds `lock` while it runs jobs. A context manager that closes the store.
    """

    def __init__(self, folder: Path, settings: Settings) -> None:
        """Open the folder's store, creating it if needed.

        Args:
            folder: the folder that holds the runs.
            settings: the user's settings.
        """
        self.settings = FolderSettings.of(settings, folder)
        self.store = Store(self.settings.jobs_url)
        self.project_id = KeyRepository(self.store).ensure_project()
        self.jobs = JobRepository(self.store)
        self.events = EventRepository(self.store)
        self.lock = FolderLock(self.settings.folder / _LOCK)

    @staticmethod
    def exists(folder: Path) -> bool:
        """Return whether a folder has a store of its own."""
        return (folder / _STORE).is_file()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.store.close()

    def take_up(
        self,
        job_id: str,
        spec: AlignmentJobSpec,
        waits_for: str | None = None,
    ) -> StoredJob:
        """Return the job with this id, adding it if needed; see `add_job`.

        A run without a job was left by an earlier version: its events are imported.
        """
        with suppress(JobNotFoundError):
            return self.jobs.get(job_id)
        left = read_events(self.settings.run_dir(job_id))
        with self.store.change() as connection:
            add_job(connection, NewJob(spec, self.project_id, waits_for=waits_for, id=job_id))
            for event in left:
                append_event(connection, job_id, event)
        for event in left:
            if isinstance(event, ResultEvent):
                self.jobs.succeed(job_id, event)
        return self.jobs.get(job_id)

    def claimed(self) -> Iterator[StoredJob]:
        """Claim and yield the queued jobs one after another."""
        while (job := self.jobs.claim_next(free_slots=1, all_slots=1)) is not None:
            yield job

    def run_job(
        self,
        job: StoredJob,
        on_event: Callable[[Event], None],
        is_pausing: Callable[[], bool] = lambda: False,
    ) -> StoredJob:
        """Run a claimed job in its own process, and return the job as it is afterwards.

        Args:
            job: the claimed job.
            on_event: called with every event of this start except the one with the job's error.
            is_pausing: polled a few times a second; True pauses the job.
        """
        earlier = self.events.before(job.id, None, 1).events
        told = earlier[0].id if earlier else 0

        def look() -> None:
            nonlocal told
            for found in self.events.after(job.id, told, _ALL).events:
                told = found.id
                if not isinstance(found.event, ErrorEvent):
                    on_event(found.event)
            if is_pausing() and self.jobs.stop_requested_at(job.id) is None:
                with suppress(JobConflictError):  # the job has ended
                    self.jobs.request_pause(job.id)

        never = threading.Event()
        run = JobRun(job.id, job.starts + 1, Share(), self.jobs, self.settings, never, look)
        try:
            run.run()
        except BaseException:
            self.jobs.requeue_running("it was interrupted; it resumes from its checkpoint")
            raise
        look()
        return self.jobs.get(job.id)

    def all_events(self, job_id: str) -> list[Event]:
        """Return the events of a job so far."""
        return [found.event for found in self.events.after(job_id, 0, _ALL).events]
