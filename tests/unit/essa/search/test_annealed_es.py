"""Annealed ES: raw differences within pairs, and a step that follows the budget."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from essa.errors import SearchError, SpecError
from essa.search.annealed_es import AnnealedEs
from essa.search.antithetic import NO_DIFFERENCE
from essa.search.base import BudgetShare, SearchStart

D, N = 200, 8


def build(population: int = N, radius: float = 1.2) -> AnnealedEs:
    return AnnealedEs(SearchStart(D, population, 0.5, 2), radius=radius)


def walk(generations: int, *, shares: list[float] | None = None) -> float:
    """Root mean square coordinate of the mean after a run that sees nothing but noise."""
    search, luck = build(), np.random.default_rng(1)
    shares = shares or list(np.linspace(0, 1, generations + 1))
    for before, after in itertools.pairwise(shares):
        search.ask()
        search.tell(luck.standard_normal(N), BudgetShare(before, after))
    return float(np.sqrt(np.mean(np.square(search.mean))))


def test_a_step_is_the_sum_of_the_noise_weighted_by_the_differences() -> None:
    search = build()
    noise = search.ask()[0::2] / 0.5
    search.tell(np.array([3.0, 0, 0, 4, 1, 1, 5, 5]), BudgetShare(0.0, 0.03))
    direction = (3 * noise[0] - 4 * noise[1]) / 5
    np.testing.assert_allclose(search.mean, 1.2 * 0.5 * np.sqrt(3 * 0.03) * direction)


def test_what_both_members_of_a_pair_share_changes_nothing() -> None:
    """A pair has prompts of its own: how hard they are says nothing of the pair."""
    plain, shifted = build(), build()
    fitness = plain.ask()[:, 0]
    shifted.ask()
    plain.tell(fitness, BudgetShare(0.0, 0.1))
    shifted.tell(fitness + np.repeat([10.0, -3.0, 0.5, 7.0], 2), BudgetShare(0.0, 0.1))
    np.testing.assert_allclose(plain.mean, shifted.mean)


@pytest.mark.parametrize("generations", [20, 200])
def test_noise_alone_walks_the_radius_over_the_whole_budget(generations: int) -> None:
    assert walk(generations) == pytest.approx(1.2 * 0.5, rel=0.1)


def test_it_walks_as_far_where_generations_take_unequal_shares_of_the_budget() -> None:
    uneven = np.cumsum(np.random.default_rng(3).uniform(0.2, 1.8, 100))
    assert walk(100, shares=[0.0, *(uneven / uneven[-1])]) == pytest.approx(1.2 * 0.5, rel=0.1)


def test_the_step_falls_to_zero() -> None:
    search = build()
    fitness = np.arange(N).astype(float) ** 2
    norms = []
    for before in (0.0, 0.5, 0.99, 1.0):
        search.ask()
        norms.append(search.tell(fitness, BudgetShare(before, min(1.0, before + 0.01))).step_norm)
    assert norms[0] > 1.5 * norms[1] > 20 * norms[2]
    assert norms[3] == 0


def test_a_pair_with_a_missing_member_has_no_weight() -> None:
    search = build()
    noise = search.ask()[0::2] / 0.5
    search.tell(np.array([9.0, np.nan, 1.0, 0.0, 5, 5, 5, 5]), BudgetShare(0.0, 1 / 3))
    np.testing.assert_allclose(search.mean, 1.2 * 0.5 * noise[1])


def test_pairs_without_a_difference_are_told_apart_from_equal_candidates() -> None:
    search = build()
    search.ask()
    report = search.tell(np.array([1.0, 1, 0, 0, 2, 2, 5, 5]), BudgetShare(0.0, 0.1))
    assert (report.updated, report.reason) == (False, NO_DIFFERENCE)


def test_the_share_of_the_budget_is_needed() -> None:
    search = build()
    search.ask()
    with pytest.raises(SearchError, match="share of the budget"):
        search.tell(np.arange(N).astype(float))


def test_an_odd_population_is_refused() -> None:
    with pytest.raises(SpecError, match="even"):
        build(7)
