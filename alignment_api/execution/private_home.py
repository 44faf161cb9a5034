"""A private home: the jobs of a folder in a store of their own, run without the service."""

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
"""Id of a job whose run is the folder itself."""

_STORE = ".essa/store.sqlite3"
_LOCK = ".essa/lock"
_ALL = 2**31


class FolderSettings(Settings):
    """Settings of the jobs of a private home; models and uploaded files are those of `home`."""

    folder: Path
    """Folder that holds the runs. The id of a job is the path of its run in there."""

    @classmethod
    def of(cls, settings: Settings, folder: Path) -> FolderSettings:
        """The settings of the user, for the jobs of a folder."""
        return cls.model_validate(dict(settings) | {"folder": folder.absolute()})

    @property
    def jobs_url(self) -> str:
        """Where the store of these jobs is."""
        return sqlite_url(self.folder / _STORE)

    @property
    def forwarding_wait_s(self) -> float:
        """Time that integrations get after the end of a job."""
        return 30.0

    @property
    def job_arguments(self) -> list[str]:
        """What tells a job's process of these settings."""
        return [*super().job_arguments, "--folder", str(self.folder)]

    def shown_id(self, job_id: str) -> str:
        """The same for every start of a run, and another one for every other folder."""
        place = str(self.run_dir(job_id)).encode()
        return f"local-{hashlib.sha256(place).hexdigest()[:16]}"

    def job_dir(self, job_id: str) -> Path:
        """Folder of one job: its log, its lock, and what the run itself writes."""
        return self.folder / job_id

    def run_dir(self, job_id: str) -> Path:
        """What the run of a job writes, beside its log."""
        return self.job_dir(job_id)


class PrivateHome:
    """The jobs of a folder, of which one runs at a time, with the whole machine.

    Whoever runs jobs holds `lock`. A context manager: it closes the store.
    """

    def __init__(self, folder: Path, settings: Settings) -> None:
        """Open the folder's store, which is made where there is none.

        Args:
            folder: holds the runs.
            settings: of the user.
        """
        self.settings = FolderSettings.of(settings, folder)
        self.store = Store(self.settings.jobs_url)
        self.project_id = KeyRepository(self.store).ensure_project()
        self.jobs = JobRepository(self.store)
        self.events = EventRepository(self.store)
        self.lock = FolderLock(self.settings.folder / _LOCK)

    @staticmethod
    def exists(folder: Path) -> bool:
        """Whether a folder has a store of its own."""
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
        """The job of this id, added where there is none; see `add_job`.

        A run without a job is one that an earlier version has left: its events are taken over.
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
        """Every queued job in its turn, marked as running."""
        while (job := self.jobs.claim_next(free_slots=1, all_slots=1)) is not None:
            yield job

    def run_job(
        self,
        job: StoredJob,
        on_event: Callable[[Event], None],
        is_pausing: Callable[[], bool] = lambda: False,
    ) -> StoredJob:
        """Run a claimed job in a process of its own, and return what has become of it.

        Args:
            job: the job.
            on_event: told every event of this start, but the one that says why the job failed.
            is_pausing: asked a few times a second whether the job shall pause.
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
                with suppress(JobConflictError):  # it has ended
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
        """The events of a job so far."""
        return [found.event for found in self.events.after(job_id, 0, _ALL).events]
