"""Missing scores, ties and the weights that follow from ranks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from essa.errors import NonFiniteFitnessError
from essa.search import shaping

NAN = np.nan

scores = st.lists(
    st.one_of(st.just(NAN), st.integers(-3, 3).map(float)), min_size=2, max_size=20
).filter(lambda values: np.count_nonzero(np.isfinite(values)) >= 2)


def template(count: int) -> np.ndarray:
    """Weights of the kind CMA-ES uses: positive ones sum to 1, the rest is negative."""
    raw = np.log((count + 1) / 2) - np.log(np.arange(1, count + 1))
    return np.where(raw > 0, raw / raw[raw > 0].sum(), raw / -raw[raw <= 0].sum() * 0.7)


def test_centred_ranks_run_from_minus_half_to_half() -> None:
    ranks = shaping.centred_ranks(np.array([3.0, -1.0, 10.0, 0.0, 5.0]))
    np.testing.assert_allclose(ranks, [0.0, -0.5, 0.5, -0.25, 0.25])


def test_tied_fitness_gets_equal_centred_ranks() -> None:
    ranks = shaping.centred_ranks(np.array([1.0, 0.0, 1.0, 0.0, 2.0]))
    np.testing.assert_allclose(ranks, [0.125, -0.375, 0.125, -0.375, 0.5])


def test_missing_candidates_are_ranked_by_nobody() -> None:
    ranks = shaping.centred_ranks(np.array([NAN, 1.0, 2.0, NAN, 3.0]))
    np.testing.assert_allclose(ranks, [0.0, -0.5, 0.0, 0.0, 0.5])


def test_nes_utilities_follow_the_published_formula() -> None:
    """n = 4: max(0, ln 3 - ln k) is 1.0986, 0.4055, 0, 0; over its sum, minus a quarter."""
    utilities = shaping.nes_utilities(np.array([0.0, 5.0, 2.0, -1.0]))
    np.testing.assert_allclose(utilities, [-0.25, 0.480422, 0.019578, -0.25], atol=1e-6)


@given(scores)
def test_weights_sum_to_zero_and_ties_share(values: list[float]) -> None:
    usable = np.array(values)
    for weights in (shaping.centred_ranks(usable), shaping.nes_utilities(usable)):
        assert weights.sum() == pytest.approx(0, abs=1e-12)
        assert np.all(weights[np.isnan(usable)] == 0)
        for level in np.unique(usable[np.isfinite(usable)]):
            assert len(np.unique(weights[usable == level])) == 1


@given(scores)
def test_a_better_candidate_never_weighs_less(values: list[float]) -> None:
    usable = np.array(values)
    shared = shaping.recombination_weights(template(len(usable)), usable)
    present = np.isfinite(usable)
    for weights in (
        shaping.centred_ranks(usable),
        shaping.nes_utilities(usable),
        shared.mean,
        shared.covariance,
    ):
        ordered = weights[present][np.argsort(usable[present])]
        assert np.all(np.diff(ordered) >= -1e-12)


@given(scores)
def test_recombination_always_makes_a_weighted_mean(values: list[float]) -> None:
    usable = np.array(values)
    shared = shaping.recombination_weights(template(len(usable)), usable)
    assert shared.mean.sum() == pytest.approx(1)
    assert np.all(shared.mean >= 0)
    missing = np.isnan(usable)
    assert np.all(shared.mean[missing] == 0)
    assert np.all(shared.covariance[missing] == 0)
    for level in np.unique(usable[~missing]):
        assert len(np.unique(shared.covariance[usable == level])) == 1


def test_without_ties_recombination_is_the_template() -> None:
    weights = template(6)
    shared = shaping.recombination_weights(weights, np.array([1.0, 6.0, 3.0, 4.0, 2.0, 5.0]))
    np.testing.assert_allclose(shared.covariance, weights[[5, 0, 3, 2, 4, 1]], atol=1e-15)
    np.testing.assert_allclose(shared.mean, np.maximum(shared.covariance, 0), atol=1e-15)


def test_missing_candidates_take_the_worst_ranks() -> None:
    weights = template(6)
    shared = shaping.recombination_weights(weights, np.array([NAN, 1.0, 2.0, 3.0, NAN, 4.0]))
    np.testing.assert_allclose(
        shared.covariance, [0, weights[3], weights[2], weights[1], 0, weights[0]], atol=1e-15
    )


def test_fewer_candidates_than_parents_still_make_a_mean() -> None:
    weights = template(6)
    shared = shaping.recombination_weights(weights, np.array([NAN, 1.0, NAN, 3.0, NAN, NAN]))
    np.testing.assert_allclose(shared.mean[[3, 1]], weights[:2] / weights[:2].sum())


def test_a_tie_across_the_parents_shares_both_signs() -> None:
    weights = template(4)
    shared = shaping.recombination_weights(weights, np.array([2.0, 1.0, 1.0, 1.0]))
    np.testing.assert_allclose(shared.mean, [weights[0], *[weights[1] / 3] * 3])
    np.testing.assert_allclose(shared.covariance, [weights[0], *[weights[1:].mean()] * 3])


def test_infinite_scores_are_missing_and_the_input_is_kept() -> None:
    fitness = np.array([1.0, np.inf, -np.inf, NAN, 2.0])
    usable = shaping.usable_fitness(fitness)
    np.testing.assert_array_equal(usable, [1.0, NAN, NAN, NAN, 2.0])
    np.testing.assert_array_equal(fitness, [1.0, np.inf, -np.inf, NAN, 2.0])


def test_a_missing_twin_takes_its_pair_along() -> None:
    usable = shaping.usable_fitness(np.array([1.0, NAN, 3.0, 4.0, np.inf, 6.0]), antithetic=True)
    np.testing.assert_array_equal(usable, [NAN, NAN, 3.0, 4.0, NAN, NAN])


def test_two_scores_in_two_broken_pairs_are_too_few() -> None:
    fitness = np.array([1.0, NAN, NAN, 4.0])
    assert np.count_nonzero(np.isfinite(shaping.usable_fitness(fitness))) == 2
    with pytest.raises(NonFiniteFitnessError, match="0 of 4") as caught:
        shaping.usable_fitness(fitness, antithetic=True)
    assert caught.value.detail == {"remaining": 0, "population": 4}


def test_flatness_looks_at_the_usable_only() -> None:
    assert shaping.is_flat(np.array([0.5, NAN, 0.5]))
    assert not shaping.is_flat(np.array([0.5, NAN, 0.500001]))


def test_the_order_puts_missing_candidates_last() -> None:
    assert shaping.best_first(np.array([1.0, NAN, 3.0, 1.0])) == [2, 0, 3, 1]
