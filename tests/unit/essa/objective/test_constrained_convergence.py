"""Every controller reaches the constrained optimum of a small noisy problem.

Component i is Phi(w_i x + c) plus the luck of a batch that all candidates share; the objective is
-||x||^2 / 2. The optimum is the shortest x on the active thresholds, in closed form.
"""

from __future__ import annotations

from statistics import NormalDist
from typing import Any

import numpy as np
import pytest

from essa.constrained.problem import ConstrainedProblem
from essa.objective.constrained import ConstrainedObjective
from essa.search.registry import make_search
from essa.spec.constrained import ConstrainedSpec
from essa.spec.search import SepCmaEsSpec
from essa.types import FloatArray

D, N, SIGMA, GENERATIONS, LUCK = 20, 20, 0.3, 150, 0.04
NORMAL = NormalDist()
START = NORMAL.inv_cdf(0.24)
AXES = np.zeros((2, D))
AXES[0, 0], AXES[1, :2] = 1.0, (0.5, 0.75**0.5)
phi = np.vectorize(NORMAL.cdf)


def components(vectors_N_D: FloatArray) -> FloatArray:
    shares = phi(vectors_N_D @ AXES.T + START)
    return np.column_stack([-0.5 * (vectors_N_D**2).sum(axis=1), shares])


def best(active: dict[int, float]) -> float:
    """The objective where the given components are at their thresholds."""
    reach = np.array([NORMAL.inv_cdf(threshold) - START for threshold in active.values()])
    axes = AXES[list(active)]
    return -0.5 * float(reach @ np.linalg.solve(axes @ axes.T, reach))


def settle(
    controller: dict[str, Any], direction: str, thresholds: tuple[float, float], **parts: Any
) -> FloatArray:
    """Columns at the mean, averaged over the last third."""
    rules = [
        {"component": name, "direction": direction, "threshold": threshold}
        for name, threshold in zip("ab", thresholds, strict=True)
    ]
    method = ConstrainedSpec.model_validate(
        {"objective": "cost", "constraints": rules, "controller": controller}
    )
    spec = method.searched_with(SepCmaEsSpec(population=N), SIGMA)
    search = make_search(spec, D, SIGMA, 0)
    objective = ConstrainedObjective(method, D, GENERATIONS, 0.25)
    turned = ConstrainedProblem(method).turned
    rng = np.random.default_rng(0)
    reached = []
    for _ in range(GENERATIONS):
        luck = np.array([0.0, *rng.normal(scale=LUCK, size=2)])
        means = turned(components(search.ask()) + luck)
        mean = turned(components(search.mean[None, :]) + luck)[0]
        if parts.get("lose"):
            means[rng.integers(N), rng.integers(3)] = np.nan
        objective.observe(means, mean)
        search.tell(objective.fitness(means))
        objective.learn(means, mean)
        reached.append(components(search.mean[None, :])[0])
    return np.mean(reached[-GENERATIONS // 3 :], axis=0)


# Weights alone swing around two thresholds; the quadratic penalty damps that.
@pytest.mark.parametrize(("kind", "within"), [("xi", 0.4), ("augmented_lagrangian", 0.15)])
def test_two_equalities_are_met_at_the_least_cost(kind, within):
    cost, first, second = settle({"type": kind}, "=", (0.6, 0.5))
    assert (first, second) == (pytest.approx(0.6, abs=0.03), pytest.approx(0.5, abs=0.03))
    assert cost == pytest.approx(best({0: 0.6, 1: 0.5}), rel=within)


@pytest.mark.parametrize("kind", ["mu", "augmented_lagrangian"])
def test_a_floor_that_holds_by_itself_costs_nothing(kind):
    cost, first, second = settle({"type": kind}, ">=", (0.6, 0.3))
    assert first == pytest.approx(0.6, abs=0.03)
    assert second > 0.36
    assert cost == pytest.approx(best({0: 0.6}), rel=0.15)


def test_an_adapted_penalty_comes_near_too():
    cost, first, second = settle(
        {"type": "augmented_lagrangian", "adapt_penalty": True}, "=", (0.6, 0.5)
    )
    assert (first, second) == (pytest.approx(0.6, abs=0.05), pytest.approx(0.5, abs=0.05))
    assert cost == pytest.approx(best({0: 0.6, 1: 0.5}), rel=0.25)


def test_the_exact_penalty_comes_near():
    _, first, second = settle({"type": "exact_penalty"}, ">=", (0.6, 0.3))
    assert first == pytest.approx(0.6, abs=0.08)
    assert second > 0.3


def test_fixed_weights_end_wherever_they_balance():
    _, first, _ = settle({"type": "fixed_weights", "weights": [1.0, 1.0]}, ">=", (0.6, 0.3))
    assert abs(first - 0.6) > 0.1


def test_missing_scores_do_not_keep_a_threshold_from_being_met():
    _, first, second = settle({"type": "augmented_lagrangian"}, "=", (0.6, 0.5), lose=True)
    assert (first, second) == (pytest.approx(0.6, abs=0.03), pytest.approx(0.5, abs=0.03))
