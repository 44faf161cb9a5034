"""The running spread of components over a population."""

from __future__ import annotations

import json

import numpy as np
import pytest

from essa.constrained.scale import FROZEN_AFTER, KEPT, RunningScale

NAN = float("nan")


def spread(values: list[list[float]]) -> np.ndarray:
    return np.array(values, dtype=float)


def scale_of(scale: RunningScale) -> list[float]:
    return scale.state()["spread"]


def test_the_first_generation_sets_it_and_later_ones_are_mixed_in():
    scale = RunningScale(1)
    scale.see(spread([[0.0], [2.0]]))
    assert scale_of(scale) == [1.0]
    scale.see(spread([[0.0], [6.0]]))
    assert scale_of(scale) == pytest.approx([KEPT * 1 + (1 - KEPT) * 3])


def test_a_component_in_which_all_are_alike_keeps_its_spread():
    scale = RunningScale(2)
    scale.see(spread([[0.0, 1.0], [2.0, 1.0]]))
    assert scale_of(scale) == [1.0, 0.0]
    for _ in range(10):
        scale.see(spread([[5.0, 1.0], [5.0, 3.0]]))
    assert scale_of(scale) == [1.0, 1.0]


def test_equal_values_have_no_spread_whatever_the_rounding_of_their_mean():
    scale = RunningScale(1)
    values = np.full((48, 1), 0.1)
    assert values.std() > 0
    scale.see(values)
    assert scale_of(scale) == [0.0]


def test_without_any_spread_the_standardised_value_is_zero():
    scale = RunningScale(2)
    scale.see(spread([[0.0, 1.0], [2.0, 1.0]]))
    np.testing.assert_array_equal(scale.over(np.array([3.0, 4.0])), [3.0, 0.0])


def test_missing_candidates_do_not_count():
    scale, other = RunningScale(2), RunningScale(2)
    scale.see(spread([[0.0, 1.0], [NAN, NAN], [2.0, 5.0]]))
    other.see(spread([[0.0, 1.0], [2.0, 5.0]]))
    assert scale_of(scale) == scale_of(other)
    scale.see(spread([[NAN, NAN], [NAN, NAN]]))
    assert scale_of(scale) == scale_of(other)


def test_after_some_generations_it_stays():
    scale = RunningScale(1)
    for _ in range(FROZEN_AFTER):
        scale.see(spread([[0.0], [2.0]]))
    scale.see(spread([[0.0], [200.0]]))
    assert scale_of(scale) == pytest.approx([1.0])


def test_a_restored_scale_goes_on_bit_by_bit():
    generations = np.random.default_rng(0).normal(size=(30, 8, 3))
    whole, first = RunningScale(3), RunningScale(3)
    for values in generations[:12]:
        whole.see(values)
        first.see(values)
    second = RunningScale(3)
    second.restore(json.loads(json.dumps(first.state())))
    for values in generations[12:]:
        whole.see(values)
        second.see(values)
    assert second.state() == whole.state()
