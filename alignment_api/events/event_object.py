"""Convert stored events to the API's events and checkpoints."""

from __future__ import annotations

from typing import Literal

from alignment_api.jobs.answers import Checkpoint, FineTuningEvent
from alignment_api.jobs.events import JobEvent
from alignment_api.openai import identifiers
from alignment_api.store.stored_job import StoredJob
from essa.events import (
    ErrorEvent,
    Event,
    FormatEvent,
    GateEvent,
    LadderEvent,
    ResultEvent,
    RoundEvent,
    StageEvent,
    ValidationEvent,
    WarmStartEvent,
    WarningEvent,
    finite,
)

_METRICS = (RoundEvent, ValidationEvent, LadderEvent, GateEvent)
_LEVELS: dict[str, Literal["info", "warn", "error"]] = {"warning": "warn", "error": "error"}


def event_object(stored: JobEvent[Event]) -> FineTuningEvent:
    """Convert a stored event to OpenAI's shape."""
    event = stored.event
    return FineTuningEvent(
        id=identifiers.event_id(stored.job_id, stored.id),
        created_at=int(stored.created_at),
        level=_LEVELS.get(event.type, "info"),
        message=_message(event),
        type="metrics" if isinstance(event, _METRICS) else "message",
        data={"seq": stored.id, **stored.data},
    )


def checkpoint_object(
    job: StoredJob, validation: JobEvent[ValidationEvent], fitness: float | None
) -> Checkpoint:
    """Make the checkpoint of a validated generation.

    Args:
        validation: the generation's validation event.
        fitness: mean fitness of the generation; None if unknown.
    """
    event = validation.event
    low, high = event.ci95
    metrics = {
        "step": event.generation,
        "full_valid_mean_reward": event.score,
        "full_valid_mean_reward_low": low,
        "full_valid_mean_reward_high": high,
        "train_mean_reward": fitness,
    }
    return Checkpoint(
        id=identifiers.checkpoint_id(job.id, event.generation),
        created_at=int(validation.created_at),
        fine_tuning_job_id=job.id,
        fine_tuned_model_checkpoint=identifiers.checkpoint_model(job.model_name, event.generation),
        step_number=event.generation,
        metrics={name: finite(value) for name, value in metrics.items()},
    )


def _message(event: Event) -> str:
    match event:
        case StageEvent():
            return ": ".join(part for part in (event.stage, event.message) if part)
        case RoundEvent():
            best, mean = _shown(event.best), _shown(event.mean)
            return f"generation {event.generation}: best {best}, mean {mean}"
        case ValidationEvent():
            return f"validation after generation {event.generation}: {_shown(event.score)}"
        case LadderEvent():
            return f"step size {event.chosen_sigma:g} ({event.rule})"
        case WarmStartEvent():
            return f"the warm start is there ({event.kind})"
        case FormatEvent():
            return f"computing with {event.precision} weights and {event.activations} activations"
        case GateEvent():
            return "the engines agree with the reference"
        case ResultEvent():
            aligned = event.test.get("aligned")
            return f"finished: {_shown(aligned and aligned.mean)} on the test set"
        case WarningEvent() | ErrorEvent():
            return event.message


def _shown(value: float | None) -> str:
    number = finite(value)
    return "no score" if number is None else f"{number:.3f}"
