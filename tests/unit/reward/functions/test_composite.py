from __future__ import annotations

import math
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from reward.base import Reward
from reward.errors import RewardConfigError
from reward.functions.composite import Composite
from reward.registry import build_reward
from reward.sample import samples_of
from reward.spec import MAX_NESTING, CompositeSpec, RewardSpec

SPEC = TypeAdapter(RewardSpec)


def part(name: str, reward: dict[str, Any], weight: float = 1.0) -> dict[str, Any]:
    return {"name": name, "weight": weight, "reward": reward}


def composite(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"type": "composite", "components": list(parts)}


def built(*parts: dict[str, Any]) -> Reward:
    return build_reward(SPEC.validate_python(composite(*parts)))


HAS_A = {"type": "regex", "pattern": "a"}
SHORT = {"type": "length", "max": 2}
MATCH = {"type": "exact_match"}
SLOW = {"type": "regex", "pattern": r"(a|aa)+$", "timeout_s": 0.05}


def test_the_sum_is_weighted_and_components_are_kept_unweighted() -> None:
    reward = built(part("a", HAS_A, 0.5), part("short", SHORT, -2.0))
    both, none = reward.score(samples_of(["a", "x y z"], [{}, {}]))
    assert both.value == pytest.approx(-1.5)
    assert both.components == {"a": 1.0, "short": 1.0}
    assert none.value == 0
    assert none.components == {"a": 0.0, "short": 0.0}


def test_nested_components_have_dotted_names() -> None:
    inner = composite(part("a", HAS_A, 3.0), part("deep", composite(part("short", SHORT))))
    reward = built(part("form", inner, 0.5), part("match", MATCH))
    names = ("form", "form.a", "form.deep", "form.deep.short", "match")
    assert reward.component_names == names
    (result,) = reward.score(samples_of(["a"], [{"answer": "b"}]))
    assert result.value == pytest.approx(0.5 * (3 + 1))
    assert result.components == dict(zip(names, [4.0, 1.0, 1.0, 1.0, 0.0], strict=True))


@pytest.mark.parametrize("weight", [1.0, 0.0])
def test_a_missing_component_makes_the_sum_missing_and_keeps_the_others(weight: float) -> None:
    reward = built(part("a", HAS_A), part("match", MATCH, weight))
    missing, whole = reward.score(samples_of(["a", "a"], [{}, {"answer": "a"}]))
    assert missing.missing
    assert missing.components["a"] == 1
    assert math.isnan(missing.components["match"])
    assert missing.error is not None
    assert missing.error.startswith("component match: ")
    assert "reward.components[1].reward.reference" in missing.error
    assert not whole.missing


def test_every_missing_component_is_named() -> None:
    reward = built(part("match", MATCH), part("slow", SLOW), part("a", HAS_A))
    (result,) = reward.score(samples_of(["a" * 60 + "b"], [{}]))
    assert result.error is not None
    assert "component match: " in result.error
    assert "component slow: reward.components[1].reward.pattern" in result.error
    assert "component a" not in result.error


def test_a_sum_beyond_the_largest_float_is_missing() -> None:
    reward = built(part("a", HAS_A, 1.7e308), part("b", HAS_A, 1.7e308))
    (result,) = reward.score(samples_of(["a"], [{}]))
    assert result.missing
    assert result.components == {"a": 1.0, "b": 1.0}


def test_check_row_reaches_nested_components() -> None:
    reward = built(part("a", HAS_A), part("in", composite(part("match", MATCH))))
    with pytest.raises(RewardConfigError) as caught:
        reward.check_row({"question": "?"})
    setting = "reward.components[1].reward.components[0].reward.reference"
    assert caught.value.detail["field"] == setting


def nested(depth: int) -> dict[str, Any]:
    reward = SHORT
    for _ in range(depth):
        reward = composite(part("x", reward))
    return reward


def test_nesting_is_bounded() -> None:
    deepest = build_reward(SPEC.validate_python(nested(MAX_NESTING)))
    assert len(deepest.component_names) == MAX_NESTING
    with pytest.raises(ValidationError, match=f"{MAX_NESTING + 1} deep; {MAX_NESTING} is the most"):
        SPEC.validate_python(nested(MAX_NESTING + 1))


def test_a_composite_made_without_the_registry_says_how_to_make_one() -> None:
    with pytest.raises(TypeError, match=r"reward\.components\[0\]\.reward .*build_reward"):
        Composite(CompositeSpec.model_validate(composite(part("a", HAS_A))))
