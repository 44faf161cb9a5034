"""Search over thresholds: when it asks for the metric, where it goes, when it ends."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from essa.constrained.threshold_search import NEAR, ThresholdSearch
from essa.errors import StateMismatchError
from essa.spec.constrained import ConstraintSpec
from essa.spec.threshold_search import ThresholdSearchSpec

NAN = float("nan")
PEAK = np.array([0.62, 0.47])
FLOORS = (
    ConstraintSpec(component="a", threshold=0.3, direction="="),
    ConstraintSpec(component="b", threshold=0.3, direction="="),
)


def search(
    constraints: tuple[ConstraintSpec, ...] = FLOORS, generations: int = 400, **parts: Any
) -> ThresholdSearch:
    spec = ThresholdSearchSpec.model_validate({"metric": "good", **parts})
    return ThresholdSearch(spec, constraints, generations)


def wide(count: int = 2) -> list[dict[str, Any]]:
    return [{"component": name, "low": 0.1, "high": 0.9} for name in "abc"[:count]]


def metric(threshold_K: np.ndarray) -> float:
    return 1 - float(((threshold_K - PEAK) ** 2).sum())


def pursue(thresholds: ThresholdSearch, generations: int, start: float = 0.2) -> np.ndarray:
    """A run that goes half the way to its thresholds in every generation."""
    reached = np.full(2, start)
    for _ in range(generations):
        spread = np.linspace(-0.1, 0.1, 5)[:, None]
        if thresholds.observe(reached, reached + spread):
            thresholds.score(metric(reached))
        reached = reached + 0.5 * (thresholds.threshold_K - reached)
    return reached


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("bounds", [wide(), []], ids=["bounds given", "bounds seen"])
def test_the_thresholds_with_the_best_metric_are_found(seed, bounds):
    thresholds = search(seed=seed, bounds=bounds, generations=600)
    reached = pursue(thresholds, 600)
    first = metric(np.array([0.3, 0.3]))
    if bounds:
        assert thresholds.is_done
        np.testing.assert_allclose(thresholds.threshold_K, PEAK, atol=0.1)
        np.testing.assert_allclose(reached, PEAK, atol=0.1)
    else:
        assert metric(reached) > first + 0.02
    assert max(value for _, value in thresholds.scored) == pytest.approx(
        metric(thresholds.threshold_K), abs=0.02
    )


def test_the_first_proposal_is_what_the_job_says():
    np.testing.assert_array_equal(search().threshold_K, [0.3, 0.3])


def test_the_metric_is_wanted_after_some_generations_at_the_thresholds():
    thresholds = search(settle=3)
    near, far = np.array([0.31, 0.28]), np.array([0.31, 0.2])
    due = [thresholds.observe(one, one[None]) for one in (near, near, far, near, near, near)]
    assert due == [False] * 5 + [True]


def test_a_share_of_the_budget_is_enough_where_they_are_out_of_reach():
    thresholds = search(generations=80, budget_share=0.125)
    far = np.array([0.1, 0.1])
    assert [thresholds.observe(far, far[None]) for _ in range(10)] == [False] * 9 + [True]


def test_a_floor_or_a_ceiling_with_room_to_spare_is_reached():
    rules = (
        ConstraintSpec(component="a", threshold=0.3),
        ConstraintSpec(component="b", threshold=0.3, direction="<="),
    )
    good, bad = np.array([0.9, 0.01]), np.array([0.01, 0.9])
    assert search(rules, settle=1).observe(good, good[None])
    assert not search(rules, settle=1).observe(bad, bad[None])


def test_a_metric_that_is_missing_is_wanted_again():
    thresholds = search(settle=1)
    at = np.array([0.3, 0.3])
    assert thresholds.observe(at, at[None])
    thresholds.score(NAN)
    assert thresholds.scored == ()
    assert thresholds.observe(at, at[None])
    np.testing.assert_array_equal(thresholds.threshold_K, at)


def test_a_start_that_was_not_measured_is_waited_for():
    thresholds = search(settle=1, generations=8)
    unknown = np.array([0.3, NAN])
    assert not any(thresholds.observe(unknown, unknown[None]) for _ in range(5))


def test_the_first_simplex_goes_the_way_the_constraints_ask():
    """Up from the start for a floor, down for a ceiling, as far as candidates have been."""
    rules = (
        ConstraintSpec(component="a", threshold=0.3),
        ConstraintSpec(component="b", threshold=0.3, direction="<="),
    )
    for seed in range(20):
        thresholds = search(rules, settle=1, seed=seed)
        at = np.array([0.3, 0.3])
        thresholds.observe(at, np.array([[0.1, 0.1], [0.8, 0.6]]))
        thresholds.score(0.0)
        assert 0.3 <= thresholds.threshold_K[0] <= 0.8
        assert 0.1 <= thresholds.threshold_K[1] <= 0.3


def test_thresholds_stay_in_their_bounds():
    bounds = [
        {"component": "a", "low": 0.25, "high": 0.45},
        {"component": "b", "low": 0.2, "high": 0.5},
    ]
    thresholds = search(bounds=bounds, settle=1)
    for step in range(60):
        one = thresholds.threshold_K
        assert (one >= [0.25, 0.2]).all()
        assert (one <= [0.45, 0.5]).all()
        if thresholds.observe(one, one[None] + 0.4):
            thresholds.score(float(np.sin(step)))


def test_thresholds_that_have_a_score_are_not_tried_again():
    thresholds = search(bounds=wide(), generations=600)
    pursue(thresholds, 600)
    tried = [threshold for threshold, _ in thresholds.scored]
    for index, one in enumerate(tried):
        for other in tried[:index]:
            assert (np.abs(one - other) > NEAR).any()


def test_once_it_is_done_it_asks_for_nothing_and_keeps_the_best():
    thresholds = search(bounds=wide(), generations=600)
    pursue(thresholds, 600)
    assert thresholds.is_done
    kept = thresholds.threshold_K
    best = max(thresholds.scored, key=lambda pair: pair[1])[0]
    np.testing.assert_array_equal(kept, best)
    assert not any(thresholds.observe(kept, kept[None]) for _ in range(200))
    thresholds.score(99.0)
    np.testing.assert_array_equal(thresholds.threshold_K, kept)


def test_a_flat_metric_comes_to_an_end():
    thresholds = search(bounds=wide(), settle=1)
    for _ in range(200):
        one = thresholds.threshold_K
        if thresholds.observe(one, one[None]):
            thresholds.score(1.0)
    assert thresholds.is_done


@pytest.mark.parametrize("taken", [0, 3, 17, 40, 90])
def test_a_restored_search_goes_on_bit_by_bit(taken):
    whole = search(seed=5, bounds=wide()[:1])
    reached = pursue(whole, taken)
    other = search(seed=6, bounds=wide()[:1])
    other.restore(json.loads(json.dumps(whole.state())))
    pursue(whole, 60, float(reached[0]))
    pursue(other, 60, float(reached[0]))
    assert other.state() == whole.state()


def test_a_state_with_other_thresholds_is_refused():
    with pytest.raises(StateMismatchError, match="2 thresholds, this one 1"):
        search(FLOORS[:1]).restore(search().state())
