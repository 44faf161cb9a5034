"""Events as named numbers; dashboards group them by the part of the name before the slash."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import singledispatch
from typing import NamedTuple

from alignment_api.forwarders.base import Value
from essa.events import (
    ConstraintStatus,
    GenerationEvent,
    LadderEvent,
    ResultEvent,
    RoundEvent,
    ScoreSummary,
    StepEvent,
    Tracked,
    ValidationEvent,
)


class Point(NamedTuple):
    """Numbers at a step; the step is the generation, and 0 is the warm start."""

    step: int
    values: dict[str, float]


@singledispatch
def point_of(event: object) -> Point | None:
    """Return the numbers of an event; None if it has none to plot."""
    return None


@point_of.register
def _(event: GenerationEvent) -> Point:
    constraints = _constraints("constraints", event.constraints)
    return Point(event.generation, finite(_tracked(event) | constraints))


@point_of.register
def _(event: StepEvent) -> Point:
    return Point(event.generation, finite(_tracked(event)))


@point_of.register
def _(event: ValidationEvent) -> Point:
    low, high = event.ci95
    return Point(
        event.generation,
        finite(
            {
                "generation": event.generation,
                "eval/score": event.score,
                "eval/score_ci_low": low,
                "eval/score_ci_high": high,
                "eval/is_feasible": event.is_feasible,
                **_prefixed("eval/components", event.components),
                **_constraints("eval/constraints", event.constraints),
            }
        ),
    )


@point_of.register
def _(event: LadderEvent) -> Point:
    values = {
        "generation": 0,
        "search/sigma": event.chosen_sigma,
        "train/fitness_mean": event.start_fitness,
    }
    return Point(0, finite(values))


def summary_of(event: ResultEvent) -> dict[str, Value]:
    """Summarise the result of a run."""
    scores: dict[str, float | None] = {}
    for model, score in event.test.items():
        scores |= _score(f"test/{model}", score)
    for model, score in event.serving.test.items() if event.serving is not None else ():
        scores |= _score(f"test_serving/{model}", score)
    if event.validation is not None:
        scores |= _score("eval/selected", event.validation)
    return {
        **finite(scores),
        **finite({"seconds": event.seconds, "tokens": event.tokens}),
        "generations": event.generations,
        "selected_generation": event.selected_generation,
        "stop_reason": event.stop_reason,
    }


def finite(values: Mapping[str, float | None]) -> dict[str, float]:
    """Drop missing values, because NaN breaks the axes of some dashboards."""
    return {
        name: float(value)
        for name, value in values.items()
        if value is not None and math.isfinite(value)
    }


def _tracked(event: RoundEvent) -> dict[str, float | None]:
    """Return the numbers of an event whose fields are annotated with `Tracked`."""
    found: dict[str, float | None] = {"generation": event.generation}
    for name, field in type(event).model_fields.items():
        value = getattr(event, name)
        for place in (it for it in field.metadata if isinstance(it, Tracked)):
            if isinstance(value, Mapping):
                found |= _prefixed(place.group, value)
            else:
                found[f"{place.group}/{place.name or name}"] = value
    return found


def _score(name: str, score: ScoreSummary) -> dict[str, float | None]:
    low, high = score.ci95
    return {
        f"{name}/score": score.mean,
        f"{name}/score_ci_low": low,
        f"{name}/score_ci_high": high,
        **_prefixed(f"{name}/components", score.components),
    }


def _prefixed(prefix: str, values: Mapping[str, float]) -> dict[str, float | None]:
    return {f"{prefix}/{name}": value for name, value in values.items()}


def _constraints(prefix: str, found: Iterable[ConstraintStatus]) -> dict[str, float | None]:
    values: dict[str, float | None] = {}
    for one in found:
        name = f"{prefix}/{one.component}"
        if f"{name}/value" in values:  # the constraint has both bounds
            name = f"{name} {one.direction} {one.threshold:g}"
        values |= {
            f"{name}/value": one.value,
            f"{name}/threshold": one.threshold,
            f"{name}/violation": one.violation,
            f"{name}/multiplier": one.multiplier,
        }
    return values
