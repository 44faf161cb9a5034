from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reward.base import RewardResult
from reward.functions.likelihood import Kl, ReferenceLogprob
from reward.sample import Need, Sample
from reward.spec import KlSpec, ReferenceLogprobSpec

logprobs = st.lists(st.floats(-30, 0), min_size=1, max_size=40).map(tuple)
distributions = st.lists(st.floats(0.01, 1), min_size=2, max_size=8)


def kl(own: Any, base: Any, **settings: Any) -> RewardResult:
    sample = Sample("text", logprobs=own, reference_logprobs=base)
    return Kl(KlSpec(**settings)).score([sample])[0]


def reference(base: Any, **settings: Any) -> RewardResult:
    reward = ReferenceLogprob(ReferenceLogprobSpec(**settings))
    return reward.score([Sample("text", reference_logprobs=base)])[0]


def test_each_asks_for_what_it_reads() -> None:
    assert ReferenceLogprob(ReferenceLogprobSpec()).needs == {Need.REFERENCE_LOGPROBS}
    assert Kl(KlSpec()).needs == {Need.LOGPROBS, Need.REFERENCE_LOGPROBS}


def test_reference_logprob_is_the_mean_over_tokens() -> None:
    assert reference((-1.0, -3.0)).value == -2
    assert reference((-1.0, -3.0, -2.0, -2.0)).value == -2


def test_a_floor_limits_what_one_token_can_take_away() -> None:
    assert reference((-1.0, -99.0)).value == -50
    assert reference((-1.0, -99.0), floor=-9).value == -5
    assert reference((-1.0, -math.inf), floor=-9).value == -5


def test_an_impossible_token_without_a_floor_is_missing() -> None:
    result = reference((-1.0, -math.inf))
    assert result.missing
    assert result.error is not None
    assert "-inf" in result.error


@pytest.mark.parametrize("base", [None, ()])
def test_a_sample_without_tokens_of_the_base_is_missing(base: Any) -> None:
    for result in (reference(base), kl((-1.0,), base)):
        assert result.missing
        assert result.error is not None
        assert "a model of the job wrote" in result.error


def test_kl_without_tokens_of_the_candidate_is_missing_and_names_them() -> None:
    result = kl(None, (-1.0,))
    assert result.missing
    assert result.error is not None
    assert "no logprobs" in result.error


def test_kl_of_unequal_lengths_is_missing() -> None:
    result = kl((-1.0, -2.0), (-1.0,))
    assert result.missing
    assert result.error is not None
    assert "2 tokens" in result.error
    assert "1 under the base" in result.error


def test_k1_is_minus_the_mean_log_ratio_and_may_be_positive() -> None:
    assert kl((-1.0, -1.0), (-2.0, -4.0), estimator="k1").value == -2
    assert kl((-2.0, -4.0), (-1.0, -1.0), estimator="k1").value == 2


def test_k3_by_hand() -> None:
    expected = -((math.exp(-1) - 1 + 1) + (math.exp(2) - 1 - 2)) / 2
    assert kl((-1.0, -3.0), (-2.0, -1.0)).value == pytest.approx(expected)


def test_k3_beyond_the_largest_number_is_missing_and_names_the_way_out() -> None:
    result = kl((-1000.0,), (-1.0,))
    assert result.missing
    assert result.error is not None
    assert "reward.estimator to k1" in result.error
    assert kl((-1000.0,), (-1.0,), estimator="k1").value == 999


@given(logprobs)
@pytest.mark.parametrize("estimator", ["k1", "k3"])
def test_a_candidate_that_is_the_base_has_no_divergence(
    estimator: str, own: tuple[float, ...]
) -> None:
    assert kl(own, own, estimator=estimator).value == 0


@given(logprobs, st.randoms())
def test_k3_is_never_positive_as_a_reward(own: tuple[float, ...], random: Any) -> None:
    base = tuple(random.uniform(-30, 0) for _ in own)
    assert kl(own, base).value <= 0


@given(distributions, st.randoms())
@pytest.mark.parametrize("estimator", ["k1", "k3"])
def test_in_expectation_over_the_candidate_it_is_the_divergence(
    estimator: str, weights: list[float], random: Any
) -> None:
    own = [weight / sum(weights) for weight in weights]
    others = [random.uniform(0.01, 1) for _ in weights]
    base = [other / sum(others) for other in others]
    divergence = sum(p * math.log(p / q) for p, q in zip(own, base, strict=True))
    expected = sum(
        p * kl((math.log(p),), (math.log(q),), estimator=estimator).value
        for p, q in zip(own, base, strict=True)
    )
    assert expected == pytest.approx(-divergence, abs=1e-9)
