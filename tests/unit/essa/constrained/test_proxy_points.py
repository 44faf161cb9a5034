"""Proxy points on surfaces whose maximum is known."""

from __future__ import annotations

import numpy as np
import pytest

from essa.constrained.proxy_points import density, propose_thresholds
from essa.errors import DataError


def trajectories(noise: float = 0.01) -> tuple[np.ndarray, np.ndarray]:
    """Two runs, each pushing one component far past its proxy point and the other a little."""
    rng = np.random.default_rng(3)
    time = np.linspace(0, 1, 30)
    first = np.stack([time, 0.2 + 0.3 * time], axis=1)
    second = np.stack([0.1 + 0.4 * time, time], axis=1)
    points = np.vstack([first, second]) + 0.02 * rng.standard_normal((60, 2))
    metric = 1 - (points[:, 0] - 0.5) ** 2 - 2 * (points[:, 1] - 0.4) ** 2
    return points, metric + noise * rng.standard_normal(60)


def test_the_maximum_within_the_data_is_found() -> None:
    found = propose_thresholds(*trajectories(), ["tone", "topic"])
    assert found.names == ("tone", "topic")
    assert found.thresholds == pytest.approx((0.5, 0.4), abs=0.04)
    assert found.metric == pytest.approx(1.0, abs=0.02)
    assert found.explained > 0.95
    assert found.at_edge == ()
    for threshold, (low, high) in zip(found.thresholds, found.ci95, strict=True):
        assert low <= threshold <= high


def test_more_noise_means_wider_intervals_and_less_explained() -> None:
    clear = propose_thresholds(*trajectories(0.01), ["tone", "topic"])
    noisy = propose_thresholds(*trajectories(0.2), ["tone", "topic"])
    assert noisy.explained < clear.explained
    assert np.ptp(noisy.ci95) > np.ptp(clear.ci95)


def test_a_metric_that_only_rises_has_its_threshold_at_the_edge() -> None:
    values = np.linspace(0, 1, 40)[:, None]
    found = propose_thresholds(values, values[:, 0], ["tone"])
    assert found.at_edge == ("tone",)


def test_places_without_data_are_not_proposed() -> None:
    # The surface goes on rising where only the corner of the box lies.
    points, _ = trajectories()
    found = propose_thresholds(points, points.sum(axis=1), ["tone", "topic"])
    at = np.array([found.thresholds])
    assert density(points, at)[0] > 0.04 * density(points, points).max()
    assert found.thresholds != pytest.approx(points.max(axis=0))


def test_a_metric_of_noise_is_explained_by_nothing() -> None:
    points, _ = trajectories()
    found = propose_thresholds(points, np.random.default_rng(0).normal(size=60), ["a", "b"])
    assert found.explained < 0.2


@pytest.mark.parametrize(
    ("points", "names", "words"),
    [
        (np.zeros((50, 4)), ["a", "b", "c", "d"], "4 components: .* 1 to 3"),
        (np.random.default_rng(0).normal(size=(8, 2)), ["a", "b"], "8 judged .* takes 12"),
        (np.stack([np.arange(20.0), np.ones(20)], axis=1), ["a", "b"], "b never changed"),
    ],
)
def test_data_that_cannot_carry_a_surface_is_refused(points, names, words) -> None:
    with pytest.raises(DataError, match=words):
        propose_thresholds(points, np.arange(len(points), dtype=np.float64), names)


def test_vectors_without_a_metric_are_left_out() -> None:
    points, metric = trajectories()
    spoilt = metric.copy()
    spoilt[::7] = np.nan
    found = propose_thresholds(points, spoilt, ["tone", "topic"])
    assert found.thresholds == pytest.approx((0.5, 0.4), abs=0.05)
