"""What the API shows of a job's events."""

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
        """Events as they are stored; see `EventRepository.after`."""
        return self._events.after(job_id, after, limit)

    def status(self, job_id: str, project_id: str) -> JobStatus:
        """State of a job of a project.

        Raises:
            JobNotFoundError: no such job there.
        """
        return self._jobs.get(job_id, project_id).status

    def place(self, job_id: str, number: int) -> int:
        """Where a stream goes on after an event; one that there never was is taken for the newest.

        A number from the future would be where the feed begins that all viewers share.
        """
        newest = self._events.before(job_id, None, 1).events
        return min(number, newest[0].id if newest else 0)

    def page(
        self, job_id: str, project_id: str, limit: int, after: str | None, *, is_newest_first: bool
    ) -> FineTuningEventList:
        """Events that come after one, in either direction."""
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
        """One checkpoint for each generation that was validated, newest first.

        None where all weights of an adapter move: those of single generations are not kept.
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
        """Finished generations with a higher number than `after`, in order."""
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
        """By generation; the last report with a score counts."""
        return {
            one.event.generation: one
            for one in self._events.of_kind(job_id, ValidationEvent)
            if finite(one.event.score) is not None
        }
