"""Operations of the API on jobs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from alignment_api.auth.access import Caller
from alignment_api.doctor.preflight import require_machine
from alignment_api.files.service import FileService
from alignment_api.graders.service import grader_endpoint, require_code
from alignment_api.jobs.answers import FineTuningJob, FineTuningJobList, Validation
from alignment_api.jobs.checks import find_problems
from alignment_api.jobs.creation import JobCreation, RequestIdentity
from alignment_api.jobs.estimate import forecast
from alignment_api.jobs.events import EventRepository
from alignment_api.jobs.insertion import NewJob
from alignment_api.jobs.job_object import JobObjects
from alignment_api.jobs.repository import JobRepository
from alignment_api.jobs.requests import CloneRequest, OpenAiRequest, SpecificationRequest
from alignment_api.jobs.translation import JobRequest, read_request
from alignment_api.openai.page import ends
from alignment_api.processes.devices import Devices
from alignment_api.settings import Settings
from alignment_api.store import Store
from alignment_api.store.job_status import JobStatus
from alignment_api.store.stored_job import StoredJob
from essa.spec.reading.file import problem_error, validate_job
from essa.spec.reading.overlay import overlay

_LOOKED_THROUGH = 20
"""Number of earlier jobs considered as the basis of an estimate."""


class JobService:
    """Creates, returns and changes jobs of the caller's project. Blocking; call it from a thread.

    Args:
        store: the store of the jobs.
        settings: the service's settings.
        files: the uploaded files.
        devices: the devices that jobs run on.
        on_queued: called when a job was queued.
    """

    def __init__(
        self,
        store: Store,
        settings: Settings,
        files: FileService,
        devices: Devices,
        on_queued: Callable[[], None],
    ) -> None:
        self._jobs = JobRepository(store)
        self._events = EventRepository(store)
        self._creation = JobCreation(store, settings.retry_window_s)
        self._objects = JobObjects(self._events)
        self._settings = settings
        self._files = files
        self._devices = devices
        self._on_queued = on_queued

    def create(
        self,
        request: OpenAiRequest | SpecificationRequest,
        caller: Caller,
        identity: RequestIdentity,
    ) -> FineTuningJob:
        """Check a job's files and reward, and queue it; a repeated request queues nothing again.

        Raises:
            SpecError: the job has faults; the message has a line for each.
            InsufficientScopeError: the job contains user code, and the key may not send any.
            KeyReuseError: the Idempotency-Key was used with a different request.
        """
        earlier = self._creation.find(identity, caller.project_id)
        if earlier is not None:
            return self.get(earlier, caller.project_id)
        return self._queue(self._read(request), caller, identity)

    def validate(self, request: OpenAiRequest | SpecificationRequest, caller: Caller) -> Validation:
        """Return what `create` would queue, with an estimate of its needs.

        Raises:
            SpecError, InsufficientScopeError: see `create`.
        """
        job = self._read(request)
        slots = self.check(job, caller)
        earlier = self._jobs.page(
            _LOOKED_THROUGH, None, caller.project_id, statuses=[JobStatus.SUCCEEDED]
        )
        found = forecast(job.spec, self._settings.cache_dir, earlier, self._events)
        return Validation(
            spec=job.spec.model_dump(mode="json"),
            dimension=found.dimension,
            slots=slots,
            estimate=found.estimate,
            warnings=found.warnings,
        )

    def clone(
        self, job_id: str, request: CloneRequest, caller: Caller, identity: RequestIdentity
    ) -> FineTuningJob:
        """Queue a copy of a job with changes.

        Raises:
            JobNotFoundError: there is no such job.
            SpecError, InsufficientScopeError, KeyReuseError: see `create`.
        """
        job = self.stored(job_id, caller.project_id)
        earlier = self._creation.find(identity, caller.project_id)
        if earlier is not None:
            return self.get(earlier, caller.project_id)
        spec = job.spec
        changed = validate_job(overlay(spec.model_dump(mode="json"), request.changes))
        kept = job.request
        if changed.method != spec.method or changed.reward != spec.reward:
            kept["method"] = {"type": changed.method.type}
        priority = job.priority if request.priority is None else request.priority
        return self._queue(JobRequest(changed, priority, kept), caller, identity)

    def stored(self, job_id: str, project_id: str | None = None) -> StoredJob:
        """Return a job as stored.

        Raises:
            JobNotFoundError: no such job, or it belongs to another project.
        """
        return self._jobs.get(job_id, project_id)

    def get(self, job_id: str, project_id: str) -> FineTuningJob:
        """Return one job; see `stored`."""
        return self._objects.of([self.stored(job_id, project_id)])[0]

    def page(
        self,
        limit: int,
        after: str | None,
        project_id: str,
        *,
        statuses: Collection[str] = (),
        name: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> FineTuningJobList:
        """Return a page of jobs, newest first; see `JobRepository.page`."""
        found = self._jobs.page(
            limit + 1, after, project_id, statuses=statuses, name=name, metadata=metadata
        )
        shown = self._objects.of(found[:limit])
        return FineTuningJobList(
            data=shown,
            has_more=len(found) > limit,
            **ends(shown),
        )

    def cancel(self, job_id: str, project_id: str) -> FineTuningJob:
        """Cancel a waiting job, or ask a running one to stop."""
        self.stored(job_id, project_id)
        self._jobs.request_cancel(job_id)
        return self.get(job_id, project_id)

    def pause(self, job_id: str, project_id: str) -> FineTuningJob:
        """Pause a queued job, or ask a running one to stop until resumed."""
        self.stored(job_id, project_id)
        self._jobs.request_pause(job_id)
        return self.get(job_id, project_id)

    def resume(self, job_id: str, project_id: str) -> FineTuningJob:
        """Resume a paused job from its checkpoint."""
        self.stored(job_id, project_id)
        self._jobs.resume(job_id)
        self._on_queued()
        return self.get(job_id, project_id)

    def check(self, job: JobRequest, caller: Caller) -> int:
        """Check a job and return the number of slots that it needs.

        Raises:
            SpecError, InsufficientScopeError: see `create`.
            MachineError: this machine cannot run the job.
        """
        require_code(job.spec.reward, caller, "a job with a reward of type `python`")
        slots = self._devices.needed(job.spec.engine, job.spec.method)

        def resolve(file_id: str) -> Path:
            return self._files.resolve(file_id, caller.project_id)

        problems = find_problems(
            job.spec,
            resolve,
            self._settings.reward_policy,
            self._settings.cache_dir,
            # A request must not wait for this; the job measures at its start, and may refuse then.
            may_measure=False,
        )
        if problems:
            raise problem_error([job.told(one) for one in problems])
        require_machine(job.spec, self._settings)
        return slots

    def _read(self, request: OpenAiRequest | SpecificationRequest) -> JobRequest:
        return read_request(request, grader_endpoint(self._settings))

    def _queue(self, job: JobRequest, caller: Caller, identity: RequestIdentity) -> FineTuningJob:
        slots = self.check(job, caller)
        new = NewJob(
            job.spec, caller.project_id, priority=job.priority, slots=slots, request=job.kept
        )
        created = self._creation.create(identity, new)
        if created.is_new:
            self._on_queued()
        return self.get(created.object_id, caller.project_id)
