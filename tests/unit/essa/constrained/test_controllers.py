"""Controllers of the constrained mode: which way they push, where they stop, what they remember."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter

from essa.constrained.controllers import (
    AugmentedLagrangian,
    Change,
    MultiplierController,
    make_controller,
)
from essa.spec.constrained import ControllerSpec
from essa.types import FloatArray

NAN = float("nan")
D = 100
ADAPTER: TypeAdapter[Any] = TypeAdapter(ControllerSpec)
LEARNING = [
    {"type": "mu"},
    {"type": "xi"},
    {"type": "augmented_lagrangian"},
    {"type": "augmented_lagrangian", "adapt_penalty": True},
]
ALL = [*LEARNING, {"type": "exact_penalty"}, {"type": "fixed_weights", "weights": [0.5, 2.0]}]


def name(settings: dict[str, Any]) -> str:
    return "-".join(str(value) for value in settings.values())


def build(settings: dict[str, Any], equal: tuple[bool, ...] = (False, False)):
    if settings["type"] == "xi":
        equal = tuple(True for _ in equal)
    return make_controller(ADAPTER.validate_python(settings), np.array(equal), D)


def feed(controller: MultiplierController, gaps: list[float], generations: int = 1) -> FloatArray:
    for _ in range(generations):
        controller.update(np.array(gaps), None)
    return controller.multipliers_K


def order(controller: MultiplierController, z: FloatArray, gaps: FloatArray) -> list[int]:
    return np.argsort(-controller.fitness(z, gaps)).tolist()


@pytest.mark.parametrize("settings", LEARNING, ids=name)
def test_what_is_missed_gains_weight_and_what_is_met_with_room_loses_it(settings):
    controller = build(settings)
    start = controller.multipliers_K
    first, second = feed(controller, [1.0, -1.0], 3)
    assert first > start[0]
    assert second < start[1] or start[1] == second == 0


@pytest.mark.parametrize("settings", LEARNING, ids=name)
def test_enough_weight_reverses_the_order_of_candidates(settings):
    """The first candidate has more of the objective, the second of the constrained component."""
    controller = build(settings, equal=(False,))
    z = np.array([[1.0, -1.0], [-1.0, 1.0]])
    feed(controller, [-3.0], 60)
    assert order(controller, z, np.array([[-9.0], [-11.0]])) == [0, 1]
    feed(controller, [3.0], 400)
    assert order(controller, z, np.array([[1.0], [-1.0]])) == [1, 0]


def test_weights_of_inequalities_stay_above_zero_and_those_of_equalities_may_turn():
    low_mu, low_xi = (feed(build(one), [-2.0, 2.0], 2000) for one in LEARNING[:2])
    assert 0 < low_mu[0] < 0.05
    assert 0.9 < low_mu[1] < 1
    assert -1 < low_xi[0] < -0.9
    assert 0.9 < low_xi[1] < 1


def test_multipliers_of_the_lagrangian_are_bounded_and_not_negative_for_inequalities():
    spec = {"type": "augmented_lagrangian", "max_multiplier": 5.0}
    controller = build(spec, equal=(False, True))
    assert feed(controller, [-3.0, -3.0], 500).tolist() == [0.0, -5.0]
    assert feed(controller, [3.0, 3.0], 1000).tolist() == [5.0, 5.0]


@pytest.mark.parametrize("settings", LEARNING, ids=name)
def test_a_multiplier_at_its_bound_is_told_and_comes_back_at_once(settings):
    """Without bounds, thousands of generations out of reach would take thousands to forget."""
    controller = build(settings, equal=(False,))
    assert not controller.is_exhausted_K.any()
    feed(controller, [2.0], 6000)
    highest = controller.multipliers_K[0]
    assert controller.is_exhausted_K.all()
    assert feed(controller, [-2.0])[0] < highest
    assert not controller.is_exhausted_K.any()


@pytest.mark.parametrize("settings", LEARNING, ids=name)
def test_a_violation_far_away_moves_no_further_than_one_of_four_deviations(settings):
    near, far = build(settings), build(settings)
    assert feed(near, [4.0, -4.0]).tolist() == feed(far, [1e6, -1e6]).tolist()


def test_an_inequality_with_room_to_spare_does_not_order_candidates():
    floor, exact = (build({"type": "augmented_lagrangian"}, (equal,)) for equal in (False, True))
    z, gaps = np.array([[0.1, -2.0], [0.2, 2.0]]), np.array([[-5.0], [-9.0]])
    assert order(floor, z, gaps) == [1, 0]
    # Of an equality the same is too much, and less of that is better.
    assert order(exact, z, gaps) == [0, 1]


def test_the_exact_penalty_counts_misses_only_and_both_sides_of_an_equality():
    z = np.zeros((4, 2))
    gaps = np.array([[-2.0], [0.0], [1.0], [3.0]])
    floor = build({"type": "exact_penalty", "penalty": 3.0}, equal=(False,)).fitness(z, gaps)
    equal = build({"type": "exact_penalty", "penalty": 3.0}, equal=(True,)).fitness(z, gaps)
    np.testing.assert_allclose(floor, [0, 0, -3, -9])
    np.testing.assert_allclose(equal, [-6, 0, -3, -9])


def test_fixed_weights_know_no_thresholds():
    controller = build({"type": "fixed_weights", "weights": [0.5, -2.0]})
    z = np.array([[1.0, 2.0, 3.0], [0.0, 1.0, 0.0]])
    np.testing.assert_allclose(controller.fitness(z, np.full((2, 2), 99.0)), [-4.0, 0.5])
    assert feed(controller, [5.0, -5.0], 10).tolist() == [0.5, -2.0]


@pytest.mark.parametrize("settings", ALL, ids=name)
def test_a_missing_component_leaves_one_candidate_without_fitness(settings):
    controller = build(settings)
    feed(controller, [1.0, 0.5], 5)
    rng = np.random.default_rng(0)
    z, gaps = rng.normal(size=(5, 3)), rng.normal(size=(5, 2))
    whole = controller.fitness(z, gaps)
    z[3, 1] = gaps[3, 0] = NAN
    fitness = controller.fitness(z, gaps)
    assert np.isnan(fitness).tolist() == [False, False, False, True, False]
    np.testing.assert_array_equal(np.delete(fitness, 3), np.delete(whole, 3))


def adapt(gap: float, before: float, objective: float, generations: int) -> list[float]:
    """Penalties of one adapted constraint, generation by generation."""
    controller = build({"type": "augmented_lagrangian", "adapt_penalty": True}, equal=(False,))
    assert isinstance(controller, AugmentedLagrangian)
    seen = []
    for _ in range(generations):
        controller.update(np.array([gap]), Change(objective, np.array([gap]), np.array([before])))
        seen.append(float(controller.penalties_K[0]))
    return seen


def test_a_penalty_rises_while_its_constraint_stands_still_and_falls_while_it_moves():
    stalled, moving = adapt(1.0, 1.0, 0.0, 60), adapt(0.5, 1.0, 0.0, 60)
    assert stalled == sorted(stalled)
    assert moving == sorted(moving, reverse=True)
    assert stalled[0] > 0.35 > moving[0]


def test_a_penalty_that_counts_for_nothing_against_the_objective_rises():
    assert adapt(0.01, 0.02, 5.0, 1)[0] > 0.35


def test_an_adapted_penalty_stays_within_ten_times_its_start():
    assert max(adapt(1.0, 1.0, 0.0, 300)) == pytest.approx(3.5)
    assert min(adapt(0.5, 1.0, 0.0, 300)) == pytest.approx(0.035)


@pytest.mark.parametrize("settings", ALL, ids=name)
def test_a_restored_controller_goes_on_bit_by_bit(settings):
    rng = np.random.default_rng(1)
    gaps, z = rng.normal(size=(12, 2)), rng.normal(size=(6, 3))
    changes = [Change(0.1, now - before, before) for before, now in pairwise(gaps)]
    whole, first = build(settings), build(settings)
    for gap, change in zip(gaps[1:6], changes[:5], strict=True):
        whole.update(gap, change)
        first.update(gap, change)
    second = build(settings)
    second.restore(json.loads(json.dumps(first.state())))
    for gap, change in zip(gaps[6:], changes[5:], strict=True):
        whole.update(gap, change)
        second.update(gap, change)
    assert second.state() == whole.state()
    np.testing.assert_array_equal(second.fitness(z, z[:, 1:]), whole.fitness(z, z[:, 1:]))


def test_fitness_changes_nothing():
    for settings in ALL:
        controller = build(settings)
        feed(controller, [1.0, -0.5], 3)
        before = controller.state()
        z = np.arange(9.0, dtype=np.float64).reshape(3, 3)
        one = controller.fitness(z, z[:, 1:])
        np.testing.assert_array_equal(one, controller.fitness(z, z[:, 1:]))
        assert controller.state() == before


def test_the_papers_mixing_shares_a_fixed_weight_among_all():
    z = np.random.default_rng(0).normal(size=(4, 3))
    controller = build({"type": "mu", "mixing": "paper"})
    feed(controller, [1.0, -2.0], 20)
    phi = controller.multipliers_K
    expected = (2 - phi.sum()) * z[:, 0] + z[:, 1:] @ phi
    np.testing.assert_allclose(controller.fitness(z, z[:, 1:]), expected)


@pytest.mark.parametrize("kind", ["mu", "xi"])
def test_both_mixings_rank_alike_for_one_constraint(kind):
    z = np.random.default_rng(0).normal(size=(9, 2))
    orders = []
    for mixing in ("odds", "paper"):
        controller = build({"type": kind, "mixing": mixing}, equal=(False,))
        feed(controller, [1.0], 7)
        orders.append(order(controller, z, z[:, 1:]))
    assert orders[0] == orders[1]


def test_what_holds_by_itself_takes_no_weight_from_the_rest():
    """Candidate 0 has the objective, candidate 1 what is missed; two others hold."""
    z = np.array([[2.0, -1.0, 0.0, 0.0], [-2.0, 1.0, 0.0, 0.0]])
    orders = []
    for mixing in ("odds", "paper"):
        controller = build({"type": "mu", "mixing": mixing}, equal=(False,) * 3)
        feed(controller, [4.0, -4.0, -4.0], 300)
        orders.append(order(controller, z, z[:, 1:]))
    assert orders == [[1, 0], [0, 1]]
