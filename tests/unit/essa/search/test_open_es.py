"""OpenAI-ES: pairs, step length, optimisers and decay."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest

from essa.errors import SpecError
from essa.search.antithetic import NO_DIFFERENCE
from essa.search.base import SearchStart
from essa.search.open_es import OpenAiEs

D, N = 200, 8


def build(**settings: Any) -> OpenAiEs:
    return OpenAiEs(SearchStart(D, N, 0.5, 2), **settings)


def test_neighbours_mirror_each_other_around_the_mean() -> None:
    search = build()
    search.tell(search.ask()[:, 0])
    asked = search.ask()
    np.testing.assert_allclose((asked[0::2] + asked[1::2]) / 2, np.tile(search.mean, (N // 2, 1)))


def test_an_sgd_step_is_the_rank_weighted_sum_of_the_noise() -> None:
    """Ranks 0.5 .. -0.5 by candidate: pair differences are all 1/7, so the weights are all 1/2."""
    search = build(optimizer="sgd", learning_rate=0.1)
    noise = search.ask()[0::2] / 0.5
    search.tell(np.arange(N)[::-1].astype(float))
    np.testing.assert_allclose(search.mean, 0.1 * 0.5 * noise.sum(axis=0) / 2)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("population", [4, 64])
def test_the_learning_rate_is_a_share_of_sigma(
    optimizer: Literal["adam", "sgd"], population: int
) -> None:
    search = OpenAiEs(SearchStart(D, population, 0.5, 2), optimizer=optimizer, learning_rate=0.1)
    search.ask()
    search.tell(np.random.default_rng(0).standard_normal(population))
    assert np.std(search.mean) == pytest.approx(0.1 * 0.5, rel=0.2)


def test_adam_averages_what_sgd_follows() -> None:
    """Under pure luck the tenth step of Adam is shorter than that of SGD: directions cancel."""
    steps = {}
    for optimizer in ("adam", "sgd"):
        search = build(optimizer=optimizer)
        luck = np.random.default_rng(1)
        for _ in range(10):
            search.ask()
            steps[optimizer] = search.tell(luck.standard_normal(N)).step_norm
    assert steps["adam"] < 0.7 * steps["sgd"]


def test_weight_decay_gives_back_a_share_of_the_distance_to_the_center() -> None:
    center = np.full(D, 3.0)
    decayed, plain = (
        OpenAiEs(SearchStart(D, N, 0.5, 2, center), optimizer="sgd", weight_decay=decay)
        for decay in (0.25, 0.0)
    )
    for search in (decayed, plain):
        search.tell(search.ask()[:, 0])
    np.testing.assert_allclose(decayed.mean, plain.mean)
    away = plain.mean - center
    for search in (decayed, plain):
        search.ask()
        search.tell(np.arange(N).astype(float))
    np.testing.assert_allclose(plain.mean - decayed.mean, 0.25 * away, atol=1e-12)


def test_a_pair_with_a_missing_member_has_no_influence() -> None:
    search = build(optimizer="sgd")
    noise = search.ask()[0::2] / 0.5
    search.tell(np.array([9.0, np.nan, 1.0, 0.0, 0.5, 0.5, np.inf, 2.0]))
    np.testing.assert_allclose(search.mean, 0.2 * 0.5 * noise[1])


def test_pairs_that_differ_only_from_each_other_teach_nothing() -> None:
    search = build()
    search.ask()
    report = search.tell(np.array([1.0, 1.0, 0.0, 0.0, 2.0, 2.0, 5.0, 5.0]))
    assert (report.updated, report.reason, report.step_norm) == (False, NO_DIFFERENCE, 0.0)
    np.testing.assert_array_equal(search.mean, np.zeros(D))


def test_an_odd_population_is_refused() -> None:
    with pytest.raises(SpecError, match="even"):
        OpenAiEs(SearchStart(D, 7, 0.5, 2))
