"""Stored events as events and checkpoints of the API."""

from __future__ import annotations

from typing import Any, Literal

from alignment_api.jobs.answers import Checkpoint, FineTuningEvent
from alignment_api.jobs.events import JobEvent
from alignment_api.jobs.job_object import model_name
from alignment_api.openai import identifiers
from alignment_api.store.stored_job import StoredJob
from essa.events import finite

_METRICS = ("generation", "validation", "ladder", "gate")


def event_object(event: JobEvent) -> FineTuningEvent:
    """One event in OpenAI's shape."""
    return FineTuningEvent(
        id=identifiers.event_id(event.job_id, event.id),
        created_at=int(event.created_at),
        level=_LEVELS.get(event.type, "info"),
        message=_message(event),
        type="metrics" if event.type in _METRICS else "message",
        data={"seq": event.id, **event.data},
    )


def checkpoint_object(job: StoredJob, validation: JobEvent, fitness: Any) -> Checkpoint:
    """The checkpoint of a generation that was validated.

    Args:
        validation: its event.
        fitness: mean fitness of the generation; None where there is none.
    """
    generation = validation.data["generation"]
    low, high = validation.data["ci95"]
    metrics = {
        "step": generation,
        "full_valid_mean_reward": validation.data["score"],
        "full_valid_mean_reward_low": low,
        "full_valid_mean_reward_high": high,
        "train_mean_reward": fitness,
    }
    return Checkpoint(
        id=identifiers.checkpoint_id(job.id, generation),
        created_at=int(validation.created_at),
        fine_tuning_job_id=job.id,
        fine_tuned_model_checkpoint=identifiers.checkpoint_model(model_name(job), generation),
        step_number=generation,
        metrics={name: finite(value) for name, value in metrics.items()},
    )


_LEVELS: dict[str, Literal["info", "warn", "error"]] = {"warning": "warn", "error": "error"}


def _message(event: JobEvent) -> str:
    data = event.data
    match event.type:
        case "stage":
            return ": ".join(part for part in (data["stage"], data.get("message")) if part)
        case "generation":
            return (
                f"generation {data['generation']}: best {_shown(data['best'])}, mean "
                f"{_shown(data['mean'])}"
            )
        case "validation":
            return f"validation after generation {data['generation']}: {_shown(data['score'])}"
        case "ladder":
            return f"step size {data['chosen_sigma']:g} ({data['rule']})"
        case "warm_start":
            return f"the warm start is there ({data['kind']})"
        case "format":
            return (
                f"computing with {data['precision']} weights and {data['activations']} activations"
            )
        case "gate":
            return "the engines agree with the reference"
        case "result":
            aligned = data["test"].get("aligned", {}).get("mean")
            return f"finished: {_shown(aligned)} on the test set"
    return str(data.get("message", event.type))


def _shown(value: Any) -> str:
    number = finite(value)
    return "no score" if number is None else f"{number:.3f}"
