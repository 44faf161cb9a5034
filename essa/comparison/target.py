"""Resources that every run had used when it first reached a validation score."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from essa.comparison.history import AXES, RunHistory, Spent
from essa.comparison.spread import Spread, ratio, ratio_spread, spread


@dataclass(frozen=True)
class Reached:
    """One run and the target of its seed.

    Attributes:
        target: score to reach; None if the reference arm has no score with this seed.
        generation: first generation with this score; None if the run did not reach the target.
        spent: resources used by then, excluding the warm start.
        ratio: use of the reference arm over that of this run, by axis.
        is_final: False while the run may still reach the target.
    """

    arm: str
    seed: int
    target: float | None
    generation: int | None
    spent: Spent
    ratio: Spent
    is_final: bool


@dataclass(frozen=True)
class ArmReached:
    """One arm over its seeds; `spent` and `ratio` cover the seeds that reached their target."""

    arm: str
    reached: int
    asked: int
    """Number of seeds that have a target."""
    spent: dict[str, Spread | None]
    ratio: dict[str, Spread | None]


def time_to_target(
    runs: Sequence[RunHistory], reference: str, target: float | None = None
) -> list[Reached]:
    """Compare every run with the target of its seed.

    Args:
        runs: runs of all arms and seeds.
        reference: the arm whose best validation score is the target, and whose cost is the unit.
        target: one target for all seeds; None takes the reference arm's best score of each seed.
    """
    references = {run.seed: run for run in runs if run.arm == reference}
    return [_reached(run, references.get(run.seed), target) for run in runs]


def over_seeds(found: Sequence[Reached]) -> list[ArmReached]:
    """Return one entry per arm, in the order of the runs."""
    by_arm: dict[str, list[Reached]] = {}
    for one in found:
        by_arm.setdefault(one.arm, []).append(one)
    return [_arm(arm, of_arm) for arm, of_arm in by_arm.items()]


def _reached(run: RunHistory, reference: RunHistory | None, target: float | None) -> Reached:
    if target is None and reference is not None:
        target = reference.best
    place, spent = _first(run, target)
    base = Spent() if reference is None else _first(reference, target)[1]
    ratios = Spent(*(ratio(of, own) for of, own in zip(base, spent, strict=True)))
    return Reached(run.arm, run.seed, target, place, spent, ratios, run.result is not None)


def _first(run: RunHistory, target: float | None) -> tuple[int | None, Spent]:
    if target is not None:
        for point in run.points:
            if point.is_feasible and point.score >= target:
                return point.generation, point.spent
    return None, Spent()


def _arm(arm: str, found: Sequence[Reached]) -> ArmReached:
    return ArmReached(
        arm=arm,
        reached=sum(one.generation is not None for one in found),
        asked=sum(one.target is not None for one in found),
        spent=_by_axis([one.spent for one in found], spread),
        ratio=_by_axis([one.ratio for one in found], ratio_spread),
    )


def _by_axis(
    values: Sequence[Spent], over: Callable[[Iterable[float | None]], Spread | None]
) -> dict[str, Spread | None]:
    return {axis: over(getattr(one, axis) for one in values) for axis in AXES}
