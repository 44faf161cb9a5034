"""SNES: one update by hand, and the default rate."""

from __future__ import annotations

import numpy as np
import pytest

from essa.search.base import SearchStart
from essa.search.shaping import nes_utilities
from essa.search.snes import Snes

D, N = 5, 8
FITNESS = np.array([3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0, 6.0])


def test_one_update_follows_the_published_algorithm() -> None:
    search = Snes(SearchStart(D, N, 0.5, 2), learning_rate_mean=0.7, learning_rate_sigma=0.3)
    noise = search.ask() / 0.5
    search.tell(FITNESS)
    utilities = nes_utilities(FITNESS)
    np.testing.assert_allclose(search.mean, 0.7 * 0.5 * utilities @ noise)
    grown = 0.5 * np.exp(0.15 * utilities @ (noise**2 - 1))
    np.testing.assert_allclose(search.state().arrays["stds"], grown)
    assert search.sigma == pytest.approx(np.prod(grown) ** (1 / D))
    assert search.axis_ratio == pytest.approx(grown.max() / grown.min())


def test_the_default_rate_of_sigma_depends_on_the_dimension() -> None:
    default = Snes(SearchStart(D, N, 0.5, 2))
    explicit = Snes(
        SearchStart(D, N, 0.5, 2), learning_rate_sigma=(3 + np.log(D)) / (5 * np.sqrt(D))
    )
    for search in (default, explicit):
        search.ask()
        search.tell(FITNESS)
    assert default.sigma == explicit.sigma


def test_a_start_below_the_floor_is_lifted_to_it() -> None:
    assert Snes(SearchStart(D, N, 0.5, 2), sigma_min=0.8).sigma == pytest.approx(0.8)
