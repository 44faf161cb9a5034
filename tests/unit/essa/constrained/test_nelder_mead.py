"""Nelder-Mead as a state machine."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest

from essa.constrained.nelder_mead import NelderMead
from essa.types import FloatArray

LOW, HIGH = np.array([-5.0, -5.0]), np.array([5.0, 5.0])
CORNER = np.array([[-1.0, -1.0], [0.0, -1.0], [-1.0, 0.0]])


def bowl(point: FloatArray) -> float:
    return -float((point[0] - 1.5) ** 2 + 3 * (point[1] - 0.5) ** 2 + point[0] * point[1])


def climb(simplex: NelderMead, value: Callable[[FloatArray], float], steps: int) -> None:
    for _ in range(steps):
        simplex.tell(value(simplex.ask()))


def test_vertices_are_asked_first_and_a_point_repeats_itself_until_it_is_told():
    simplex = NelderMead(CORNER, LOW, HIGH)
    for vertex in CORNER:
        np.testing.assert_array_equal(simplex.ask(), vertex)
        np.testing.assert_array_equal(simplex.ask(), vertex)
        simplex.tell(0.0)


@pytest.mark.parametrize(
    ("told", "asked"),
    [
        # Better than all: expanded, twice as far from the middle of the others, (-0.5, -0.5).
        ([2.0], [[0.5, 0.5]]),
        # No better than the second worst, but than the worst: contracted outside.
        ([-1.5], [[-0.25, -0.25]]),
        # Worse than the worst: contracted inside.
        ([-3.0], [[-0.75, -0.75]]),
        # A contraction that is worse shrinks towards the best vertex, (0, -1).
        ([-3.0, -9.0], [[-0.75, -0.75], [-0.5, -0.5]]),
    ],
)
def test_moves_are_those_of_the_published_method(told, asked):
    simplex = NelderMead(CORNER, LOW, HIGH)
    for value in (-2.0, 0.0, -1.0):
        simplex.tell(value)
    # The worst vertex, (-1, -1), is reflected first.
    np.testing.assert_allclose(simplex.ask(), [0.0, 0.0])
    for value, point in zip(told, asked, strict=True):
        simplex.tell(value)
        np.testing.assert_allclose(simplex.ask(), point)


@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_a_smooth_maximum_is_found(dimension):
    target = np.array([0.3, -0.7, 1.1])[:dimension]
    first = np.vstack([np.full(dimension, -2.0), np.eye(dimension)])
    simplex = NelderMead(first, np.full(dimension, -5.0), np.full(dimension, 5.0))
    climb(simplex, lambda x: -float(((x - target) ** 2).sum()), 120)
    np.testing.assert_allclose(simplex.vertices_V_K.mean(axis=0), target, atol=0.02)


def test_it_agrees_with_scipy():
    from scipy.optimize import minimize

    simplex = NelderMead(CORNER, LOW, HIGH)
    climb(simplex, bowl, 90)
    found = minimize(lambda x: -bowl(x), CORNER[0], method="Nelder-Mead")
    np.testing.assert_allclose(simplex.vertices_V_K[0], found.x, atol=1e-3)


def test_points_stay_in_the_box():
    simplex = NelderMead(CORNER, np.array([-1.0, -1.0]), np.array([0.5, 0.25]))
    for _ in range(60):
        point = simplex.ask()
        assert (point >= [-1.0, -1.0]).all()
        assert (point <= [0.5, 0.25]).all()
        simplex.tell(float(point.sum()))
    np.testing.assert_allclose(simplex.vertices_V_K[0], [0.5, 0.25], atol=0.05)


def test_a_restored_simplex_goes_on_bit_by_bit():
    for taken in range(12):
        whole = NelderMead(CORNER, LOW, HIGH)
        climb(whole, bowl, taken)
        other = NelderMead.from_state(json.loads(json.dumps(whole.state())))
        climb(whole, bowl, 8)
        climb(other, bowl, 8)
        assert other.state() == whole.state()
