from __future__ import annotations

import math
from typing import Any

import pytest

from reward.base import ItemReward, RewardResult
from reward.errors import RewardTimeoutError
from reward.sample import Sample


class Scripted(ItemReward):
    """Answers as the row says: a value, or an exception to raise."""

    def _score_item(self, sample: Sample) -> float:
        if isinstance(sample.columns["outcome"], Exception):
            raise sample.columns["outcome"]
        return sample.columns["outcome"]


def outcome(value: Any) -> RewardResult:
    return Scripted(None).score([Sample("text", {"outcome": value})])[0]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_is_missing_and_says_so(value: float) -> None:
    result = RewardResult(value)
    assert result.missing
    assert math.isnan(result.value)
    assert result.error is not None
    assert str(value) in result.error


def test_a_finite_value_is_not_missing() -> None:
    assert not RewardResult(0.0).missing
    assert RewardResult(0.0).error is None


def test_an_error_beside_a_finite_value_is_refused() -> None:
    with pytest.raises(ValueError, match=r"has 0\.5"):
        RewardResult(0.5, error="timed out")


def test_a_reason_given_with_a_missing_value_is_kept() -> None:
    assert RewardResult(math.nan, error="timed out").error == "timed out"


def test_an_item_whose_reward_is_infinite_is_missing() -> None:
    assert outcome(math.inf).missing


def test_an_error_of_the_package_becomes_its_message() -> None:
    assert outcome(RewardTimeoutError("too slow", field="x")).error == "too slow"


def test_an_unforeseen_exception_is_named_with_the_place_of_the_reward() -> None:
    result = outcome(ZeroDivisionError("by zero"))
    assert result.missing
    assert result.error == "reward: unexpected ZeroDivisionError: by zero"


def test_interrupting_the_process_is_not_swallowed() -> None:
    class Interrupted(ItemReward):
        def _score_item(self, sample: Sample) -> float:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Interrupted(None).score([Sample("text")])
