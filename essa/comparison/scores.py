"""Test scores of every arm: base, warm start and aligned model, with components and constraints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from essa.comparison.history import RunHistory
from essa.comparison.spread import Spread, spread
from essa.events import ConstraintStatus, ScoreSummary
from essa.records.rollouts import TESTED_MODELS


@dataclass(frozen=True)
class ConstraintOverSeeds:
    """One constraint on the test set, over seeds."""

    name: str
    """Constraint as text, such as `length <= 0.5`."""
    value: Spread | None
    held: int
    """Number of seeds that satisfy the constraint."""


@dataclass(frozen=True)
class ModelScore:
    """Test score of one model of an arm.

    Attributes:
        where: precision of the serving base, for a test repeated there; None for the test itself.
        score: mean score over prompts, over seeds.
        ci95: 95 % interval over prompts, by seed.
    """

    arm: str
    model: str
    where: str | None
    score: Spread | None
    ci95: dict[int, tuple[float, float]]
    components: dict[str, Spread | None]
    constraints: tuple[ConstraintOverSeeds, ...]
    missing: int


def scores_on_test(runs: Sequence[RunHistory]) -> list[ModelScore]:
    """Return one entry for every model of every arm that has a result."""
    arms = list(dict.fromkeys(run.arm for run in runs))
    found: list[ModelScore] = []
    for arm in arms:
        ended = {run.seed: run.result for run in runs if run.arm == arm and run.result is not None}
        for model in TESTED_MODELS:
            found += _model(arm, model, None, {seed: one.test for seed, one in ended.items()})
        served = {seed: one.serving for seed, one in ended.items() if one.serving is not None}
        for where in dict.fromkeys(str(one.precision) for one in served.values()):
            tests = {seed: one.test for seed, one in served.items() if one.precision == where}
            for model in TESTED_MODELS:
                found += _model(arm, model, where, tests)
    return found


def _model(
    arm: str, model: str, where: str | None, tests: dict[int, dict[str, ScoreSummary]]
) -> list[ModelScore]:
    scores = {seed: test[model] for seed, test in tests.items() if model in test}
    if not scores:
        return []
    names = dict.fromkeys(name for one in scores.values() for name in one.components)
    return [
        ModelScore(
            arm=arm,
            model=model,
            where=where,
            score=spread(one.mean for one in scores.values()),
            ci95={seed: one.ci95 for seed, one in scores.items()},
            components={
                name: spread(one.components.get(name) for one in scores.values()) for name in names
            },
            constraints=_constraints(list(scores.values())),
            missing=sum(one.missing for one in scores.values()),
        )
    ]


def _constraints(scores: Sequence[ScoreSummary]) -> tuple[ConstraintOverSeeds, ...]:
    found: dict[str, list[ConstraintStatus]] = {}
    for score in scores:
        for one in score.constraints:
            name = f"{one.component} {one.direction} {one.threshold:g}"
            found.setdefault(name, []).append(one)
    return tuple(
        ConstraintOverSeeds(name, spread(one.value for one in all_), sum(o.is_held for o in all_))
        for name, all_ in found.items()
    )
