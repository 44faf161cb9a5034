"""What a search over thresholds says about a specification it cannot work with."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from essa.spec.constrained import ConstraintSpec
from essa.spec.threshold_search import ThresholdSearchSpec

GOOD = {"metric": "good"}
A, B = {"component": "a", "threshold": 0.5}, {"component": "b", "threshold": 0.5}


def bound(component: str = "a", low: float = 0.2, high: float = 0.8) -> dict[str, Any]:
    return {"component": component, "low": low, "high": high}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "metric\n *Field required"),
        ({"metric": ""}, "at least 1 character"),
        (GOOD | {"settle": 0}, "greater than or equal to 1"),
        (GOOD | {"budget_share": 0.9}, "less than or equal to 0.5"),
        (GOOD | {"bounds": [bound(low=0.9)]}, "low is 0.9 and high 0.8 for a; set low below high"),
        (GOOD | {"bounds": [bound(), bound()]}, "bounds has a twice; keep one"),
        (GOOD | {"simplex": 3}, "Extra inputs"),
    ],
)
def test_a_wrong_setting_is_named_with_its_fix(given, words):
    with pytest.raises(ValidationError, match=words):
        ThresholdSearchSpec.model_validate(given)


@pytest.mark.parametrize(
    ("given", "constraints", "controller", "words"),
    [
        (GOOD, [A], "fixed_weights", "fixed_weights does not read them; take another controller"),
        ({"metric": "a"}, [A], "mu", "metric is a, which the search itself pushes"),
        ({"metric": "aim"}, [A], "mu", "metric is aim, which the search itself pushes"),
        (
            GOOD,
            [A, A | {"direction": "<="}],
            "mu",
            "different components, and constraints has a, a",
        ),
        (GOOD, [A | {"component": n} for n in "abcd"], "mu", "at most 3 thresholds"),
        (GOOD | {"bounds": [bound("c")]}, [A, B], "mu", "names c, which is not .*one of a, b"),
        (
            GOOD | {"bounds": [bound(high=0.4)]},
            [A],
            "mu",
            "a is 0.5, outside its bounds 0.2 to 0.4",
        ),
        (
            GOOD | {"bounds": [bound(low=0.49, high=0.52)]},
            [A],
            "mu",
            "0.03 apart.*range 1 count as the same; set the constraint's range",
        ),
    ],
)
def test_what_does_not_fit_the_method_is_named_with_its_fix(given, constraints, controller, words):
    rules = [ConstraintSpec.model_validate(one) for one in constraints]
    with pytest.raises(ValueError, match=words):
        ThresholdSearchSpec.model_validate(given).check("aim", rules, controller)


def test_a_plain_one_fits():
    spec = ThresholdSearchSpec.model_validate(GOOD | {"bounds": [bound()]})
    spec.check("aim", [ConstraintSpec.model_validate(A)], "augmented_lagrangian")
