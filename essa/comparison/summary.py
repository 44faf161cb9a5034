"""Summary of a comparison: curves, time to target, test scores and costs of its runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from essa.comparison.costs import ArmCost, RunCost, costs_over_seeds, run_costs
from essa.comparison.curves import Band, band
from essa.comparison.history import AXES, RunHistory
from essa.comparison.scores import ModelScore, scores_on_test
from essa.comparison.target import ArmReached, Reached, over_seeds, time_to_target


@dataclass(frozen=True)
class Summary:
    """Results of a comparison so far.

    Attributes:
        arms: names of the arms, in the order of the comparison.
        runs: all given runs, finished or not.
        curves: bands of best scores, by arm and axis.
    """

    reference: str
    arms: tuple[str, ...]
    runs: tuple[RunHistory, ...]
    curves: dict[str, dict[str, Band]]
    reached: list[Reached]
    arms_reached: list[ArmReached]
    scores: list[ModelScore]
    costs: list[RunCost]
    arm_costs: list[ArmCost]


def summarize(
    runs: Sequence[RunHistory], arms: Sequence[str], reference: str, target: float | None = None
) -> Summary:
    """Compare runs.

    Args:
        runs: runs of any arms and seeds; a run without events has not begun.
        arms: names of the arms, in the order in which they are shown.
        reference: the arm that the others are compared with.
        target: a validation score; None means the reference arm's best score with the same seed.
    """
    ordered = sorted(runs, key=lambda run: (list(arms).index(run.arm), run.seed))
    reached = time_to_target(ordered, reference, target)
    costs = run_costs(ordered, reference)
    return Summary(
        reference=reference,
        arms=tuple(arms),
        runs=tuple(ordered),
        curves={
            arm: {axis: band([run for run in ordered if run.arm == arm], axis) for axis in AXES}
            for arm in arms
        },
        reached=reached,
        arms_reached=over_seeds(reached),
        scores=scores_on_test(ordered),
        costs=costs,
        arm_costs=costs_over_seeds(costs),
    )
