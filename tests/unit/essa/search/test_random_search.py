"""Random search: the best candidate ever, sampled around a fixed center."""

from __future__ import annotations

import numpy as np

from essa.search.base import SearchStart
from essa.search.random_search import NOT_BETTER, RandomSearch


def test_the_mean_is_the_best_candidate_seen_in_any_generation() -> None:
    search = RandomSearch(SearchStart(4, 6, 0.5, 1))
    first = search.ask()
    search.tell(np.array([0.0, 1.0, 0.0, np.nan, 0.0, 0.0]))
    np.testing.assert_array_equal(search.mean, first[1])

    search.ask()
    report = search.tell(np.array([1.0, 0.0, 0.5, 0.0, 0.0, 0.0]))
    assert (report.updated, report.reason) == (False, NOT_BETTER)
    np.testing.assert_array_equal(search.mean, first[1])

    third = search.ask()
    assert search.tell(np.array([1.0, 0.0, 0.5, 0.0, 2.0, 0.0])).updated
    np.testing.assert_array_equal(search.mean, third[4])


def test_candidates_stay_around_the_center() -> None:
    search = RandomSearch(SearchStart(4, 500, 0.5, 1, np.full(4, 9.0)))
    for _ in range(3):
        asked = search.ask()
        search.tell(asked[:, 0])
    np.testing.assert_allclose(search.ask().mean(axis=0), 9.0, atol=0.1)
    assert search.mean[0] > 10


def test_equal_winners_win_equally_often() -> None:
    wins = np.zeros(3)
    for seed in range(300):
        search = RandomSearch(SearchStart(2, 3, 0.5, seed))
        asked = search.ask()
        search.tell(np.array([1.0, 0.0, 1.0]))
        wins += np.all(asked == search.mean, axis=1)
    assert wins[1] == 0
    assert wins[[0, 2]].min() > 110
