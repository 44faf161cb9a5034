"""Events as named numbers, in the groups that dashboards make from the part before the slash."""

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
    ScoreSummary,
    ValidationEvent,
)


class Point(NamedTuple):
    """Numbers at a step, which is a generation; 0 is the warm start."""

    step: int
    values: dict[str, float]


@singledispatch
def point_of(event: object) -> Point | None:
    """The numbers of an event; None where it has none to plot."""
    return None


@point_of.register
def _(event: GenerationEvent) -> Point:
    return Point(
        event.generation,
        finite(
            {
                "generation": event.generation,
                "train/fitness_mean": event.mean,
                "train/fitness_best": event.best,
                "train/fitness_worst": event.worst,
                "train/reliability": event.reliability,
                "train/missing_scores": event.missing_scores,
                **_prefixed("train/components", event.components),
                **_prefixed("train", event.training),
                "search/sigma": event.sigma,
                "search/axis_ratio": event.axis_ratio,
                "search/step_norm": event.step_norm,
                "search/distance": event.distance,
                "perf/tokens_per_s": event.tokens_per_s,
                "perf/generated_tokens": event.generated_tokens,
                "perf/rollout_s": event.rollout_s,
                "perf/reward_s": event.reward_s,
                "perf/train_s": event.train_s,
                "perf/coordinator_s": event.coordinator_s,
                "cost/elapsed_s": event.elapsed_s,
                "cost/device_s": event.device_s,
                "cost/tokens": event.tokens,
                "cost/samples": event.samples,
                **_constraints("constraints", event.constraints),
                "constraints/feasible_frac": event.feasible_frac,
            }
        ),
    )


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
    """What a run came to."""
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
    """Without what is missing: NaN breaks the axes of some dashboards."""
    return {
        name: float(value)
        for name, value in values.items()
        if value is not None and math.isfinite(value)
    }


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
        if f"{name}/value" in values:  # held from both sides
            name = f"{name} {one.direction} {one.threshold:g}"
        values |= {
            f"{name}/value": one.value,
            f"{name}/threshold": one.threshold,
            f"{name}/violation": one.violation,
            f"{name}/multiplier": one.multiplier,
        }
    return values
