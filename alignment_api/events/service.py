"""Operations of the API on a job's events."""

from __future__ import annotations

from typing import Any

from alignment_api.events.event_object import checkpoint_object, event_object
from alignment_api.jobs.answers import CheckpointList, FineTuningEventList, GenerationList
from alignment_api.jobs.events import EventBatch, EventRepository, JobEvent
from alignment_api.jobs.repository import JobRepository
from alignment_api.openai import identifiers
from alignment_api.openai.page import ends
from alignment_api.store import Store
from alignment_api.store.job_status import JobStatus
from essa.events import RoundEvent, ValidationEvent, finite


class JobEventService:
    """Pages of events, checkpoints and generations. Blocking; call it from a thread."""

    def __init__(self, store: Store) -> None:
        self._jobs = JobRepository(store)
        self._events = EventRepository(store)

    def read(self, job_id: str, after: int, limit: int) -> EventBatch:
        """Return stored events; see `EventRepository.after`."""
        return self._events.after(job_id, after, limit)

    def status(self, job_id: str, project_id: str) -> JobStatus:
        """Return the state of a project's job.

        Raises:
            JobNotFoundError: the project has no such job.
        """
        return self._jobs.get(job_id, project_id).status

    def place(self, job_id: str, number: int) -> int:
        """Return the event number after which a stream resumes: `number`, or the newest if lower.

        Without this limit, a number beyond the newest would start the feed that all watchers share.
        """
        newest = self._events.before(job_id, None, 1).events
        return min(number, newest[0].id if newest else 0)

    def page(
        self, job_id: str, project_id: str, limit: int, after: str | None, *, is_newest_first: bool
    ) -> FineTuningEventList:
        """Return a page of events after one, in either direction."""
        self._jobs.get(job_id, project_id)
        seq = None if after is None else identifiers.event_number(after, job_id)
        if is_newest_first:
            batch = self._events.before(job_id, seq, limit)
        else:
            batch = self._events.after(job_id, seq or 0, limit)
        shown = [event_object(event) for event in batch.events]
        return FineTuningEventList(data=shown, has_more=batch.has_more, **ends(shown))

    def checkpoints(
        self, job_id: str, project_id: str, limit: int, after: str | None
    ) -> CheckpointList:
        """Return one checkpoint per validated generation, newest first.

        Empty for methods that move all weights of an adapter: they keep no single generations.
        """
        job = self._jobs.get(job_id, project_id)
        if job.spec.moves_weights:
            return CheckpointList(data=[], has_more=False)
        rounds = self._events.by_generation(job_id, RoundEvent)
        fitness = {generation: one.event.mean for generation, one in rounds.items()}
        validations = self._validations(job_id)
        wanted = sorted(validations, reverse=True)
        if after is not None:
            seen = identifiers.checkpoint_generation(after, job_id)
            wanted = [generation for generation in wanted if generation < seen]
        shown = [
            checkpoint_object(job, validations[generation], fitness.get(generation))
            for generation in wanted[:limit]
        ]
        return CheckpointList(data=shown, has_more=len(wanted) > limit, **ends(shown))

    def generations(self, job_id: str, project_id: str, limit: int, after: int) -> GenerationList:
        """Return finished generations above `after`, in order."""
        self._jobs.get(job_id, project_id)
        rounds = self._events.by_generation(job_id, RoundEvent)
        validations = self._validations(job_id)
        wanted = [generation for generation in rounds if generation > after]
        shown: list[dict[str, Any]] = []
        for generation in wanted[:limit]:
            validation = validations.get(generation)
            said = {"validation": validation.data if validation else None}
            shown.append(rounds[generation].data | said)
        return GenerationList(data=shown, has_more=len(wanted) > limit)

    def _validations(self, job_id: str) -> dict[int, JobEvent[ValidationEvent]]:
        """Return validations by generation; the last one with a score counts."""
        return {
            one.event.generation: one
            for one in self._events.of_kind(job_id, ValidationEvent)
            if finite(one.event.score) is not None
        }
