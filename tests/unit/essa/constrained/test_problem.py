"""Constraints with one sign for all, and the order among results."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from essa.constrained.problem import ConstrainedProblem
from essa.spec.constrained import ConstrainedSpec

NAN = float("nan")


def problem(*constraints: tuple[Any, ...], objective: str = "tone") -> ConstrainedProblem:
    keys = ("component", "direction", "threshold", "range", "tolerance")
    rules = [dict(zip(keys, one, strict=False)) for one in constraints]
    return ConstrainedProblem(
        ConstrainedSpec.model_validate({"objective": objective, "constraints": rules})
    )


FLOOR, CEILING, EXACT = ("a", ">=", 0.6), ("b", "<=", 80.0, 100.0), ("c", "=", 0.5)


@pytest.mark.parametrize(
    ("constraint", "value", "violation"),
    [
        (FLOOR, 0.7, 0.0),
        (FLOOR, 0.6, 0.0),
        (FLOOR, 0.5, 0.1),
        (CEILING, 70.0, 0.0),
        (CEILING, 105.0, 0.25),
        (EXACT, 0.7, 0.2),
        (EXACT, 0.1, 0.4),
    ],
)
def test_violations_are_counted_in_ranges_and_on_the_side_that_matters(
    constraint, value, violation
):
    one = problem(constraint)
    turned = one.turned(np.array([0.0, value]))
    assert one.violations(turned)[0] == pytest.approx(violation)
    assert one.violation_of(0, value) == pytest.approx(violation)


def test_a_constraint_holds_within_its_tolerance_only_and_not_without_a_value():
    one = problem(("a", ">=", 0.6, 1.0, 0.05))
    held = one.is_held(one.turned(np.array([[0, 0.56], [0, 0.54], [0, 0.9], [0, NAN]])))
    assert held[:, 0].tolist() == [True, False, True, False]


def test_turning_twice_gives_the_values_as_written():
    one = problem(FLOOR, CEILING, EXACT, objective="distance")
    values = np.array([0.3, 0.7, 90.0, 0.4])
    np.testing.assert_array_equal(one.turned(one.turned(values)), values)
    np.testing.assert_array_equal(one.turned(values), [-0.3, 0.7, -90.0, 0.4])


def test_feasible_comes_before_infeasible_then_objective_then_violation():
    one = problem(FLOOR, CEILING)
    worst_first = [
        [9.0, NAN, 70.0],  # a component is missing
        [9.0, 0.1, 90.0],  # 0.5 and 0.1 missed
        [1.0, 0.5, 80.0],  # 0.1 missed
        [2.0, 0.5, 80.0],  # the same, with more of the objective
        [0.1, 0.59, 81.0],  # within both tolerances
        [0.2, 0.7, 10.0],
    ]
    merits = [one.merit(one.turned(np.array(values))) for values in worst_first]
    assert merits == sorted(merits)
    assert len(set(merits)) == len(merits)


def test_a_distance_that_is_the_objective_is_better_small():
    one = problem(FLOOR, objective="distance")
    near, far = (one.merit(one.turned(np.array([d, 0.7]))) for d in (0.1, 0.4))
    assert near > far
