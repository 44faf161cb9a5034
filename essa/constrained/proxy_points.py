"""Proxy points: values of the components beyond which an evaluation metric falls.

Moskovitz et al. (2023), arXiv:2310.04373, sections 3 and A.3, train on each component alone, log
all components and the metric along the way, fit a smooth surface of the metric over the components,
mask regions with little data, and take the maximum, which no run need have visited. Here the
surface is a quadratic, since our runs give a hundred points rather than thousands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from essa.errors import DataError
from essa.types import FloatArray

MAX_COMPONENTS = 3
"""Maximum number of components: no search could fill a larger grid with data."""
GRID = {1: 201, 2: 61, 3: 25}
"""Grid points per axis, by the number of components."""
MIN_DENSITY = 0.05
"""Share of the largest density at a data point below which the surface is not trusted."""
RIDGE = 1e-3
RESAMPLES = 400


@dataclass(frozen=True)
class Surface:
    """A quadratic over standardised components, with their means and standard deviations."""

    centre_K: FloatArray
    spread_K: FloatArray
    coefficients: FloatArray

    def metric(self, points_M_K: FloatArray) -> FloatArray:
        """Return the surface's metric at points of shape (M, K), as an array of shape (M,)."""
        return _features((points_M_K - self.centre_K) / self.spread_K) @ self.coefficients


@dataclass(frozen=True)
class ProxyPoints:
    """Proposed thresholds.

    Attributes:
        names: names of the components.
        thresholds: one per component: the surface's maximum within the data.
        ci95: 95 % interval of each threshold, over resampled points.
        metric: height of the surface at the thresholds.
        explained: leave-one-out share of the metric's variance that the surface predicts; at 0 or
            below, the surface is of no use.
        at_edge: components whose threshold lies at the edge of the data: no run passed a proxy
            point, so the true proxy point may lie further out.
    """

    names: tuple[str, ...]
    thresholds: tuple[float, ...]
    ci95: tuple[tuple[float, float], ...]
    metric: float
    explained: float
    at_edge: tuple[str, ...]
    surface: Surface


def propose_thresholds(
    points_M_K: FloatArray, metric: FloatArray, names: Sequence[str], *, seed: int = 0
) -> ProxyPoints:
    """Fit the surface and find its maximum within the data.

    Args:
        points_M_K: component values, shape (M, K), one row per judged vector of any run.
        metric: evaluation metric of the same vectors, shape (M,).
        names: names of the K components.
        seed: seed of the resampling.
    Raises:
        DataError: too many components, too few points, or a component that never moved.
    """
    points, metric = _usable(points_M_K, metric, names)
    surface = _fit(points, metric)
    grid = _grid(points)
    trusted = _is_dense(points, grid)
    best = grid[trusted][np.argmax(surface.metric(grid[trusted]))]
    rng = np.random.default_rng([seed, 0x9F0B])
    found: list[FloatArray] = []
    for _ in range(RESAMPLES):
        drawn = rng.integers(len(points), size=len(points))
        if np.linalg.matrix_rank(_features(points[drawn])) < _features(points[:1]).shape[1]:
            continue
        refit = _fit(points[drawn], metric[drawn])
        found.append(grid[trusted][np.argmax(refit.metric(grid[trusted]))])
    low, high = np.percentile(found or [best], [2.5, 97.5], axis=0)
    steps = np.ptp(points, axis=0) / (GRID[len(names)] - 1)
    inside = grid[trusted]
    edge = (best <= inside.min(axis=0) + steps / 2) | (best >= inside.max(axis=0) - steps / 2)
    return ProxyPoints(
        names=tuple(names),
        thresholds=tuple(map(float, best)),
        ci95=tuple((float(a), float(b)) for a, b in zip(low, high, strict=True)),
        metric=float(surface.metric(best[None])[0]),
        explained=_explained(points, metric),
        at_edge=tuple(name for name, is_there in zip(names, edge, strict=True) if is_there),
        surface=surface,
    )


def density(points_M_K: FloatArray, places_G_K: FloatArray) -> FloatArray:
    """Return the Gaussian kernel density (Scott's bandwidth) of points at given places.

    A little noise, in proportion to the data's scale, keeps the density finite if the points do not
    vary in some direction.

    Args:
        points_M_K: data points, shape (M, K).
        places_G_K: places, shape (G, K), in the same units.
    Returns:
        Shape (G,), density per volume of standardised components.
    """
    from scipy.stats import gaussian_kde

    centre, spread = points_M_K.mean(axis=0), points_M_K.std(axis=0)
    scaled: FloatArray = (points_M_K - centre) / spread
    jitter = np.random.default_rng(0).normal(scale=0.05, size=scaled.shape)
    return gaussian_kde((scaled + jitter).T)(((places_G_K - centre) / spread).T)


def _usable(
    points_M_K: FloatArray, metric: FloatArray, names: Sequence[str]
) -> tuple[FloatArray, FloatArray]:
    count = len(names)
    if not 1 <= count <= MAX_COMPONENTS:
        raise DataError(
            f"{count} components: a surface can be fitted over 1 to {MAX_COMPONENTS}; choose them "
            "with --components"
        )
    known = np.isfinite(points_M_K).all(axis=1) & np.isfinite(metric)
    points, metric = points_M_K[known], metric[known]
    needed = 2 * _features(np.zeros((1, count))).shape[1]
    if len(points) < needed:
        raise DataError(
            f"{len(points)} judged vectors are too few for a surface over {count} components, "
            f"which takes {needed}; raise budget.generations or lower evaluation.every"
        )
    still = [name for name, span in zip(names, np.ptp(points, axis=0), strict=True) if span == 0]
    if still:
        raise DataError(f"{still[0]} never changed in any run; leave it out with --components")
    return points, metric


def _fit(points_M_K: FloatArray, metric: FloatArray) -> Surface:
    centre, spread = points_M_K.mean(axis=0), points_M_K.std(axis=0)
    features = _features((points_M_K - centre) / spread)
    penalty = RIDGE * len(points_M_K) * np.eye(features.shape[1])
    penalty[0, 0] = 0.0
    coefficients = np.linalg.solve(features.T @ features + penalty, features.T @ metric)
    return Surface(centre, spread, cast("FloatArray", coefficients))


def _features(scaled_M_K: FloatArray) -> FloatArray:
    """Return 1, every component and every product of two, shape (M, (K + 1)(K + 2) / 2)."""
    count = scaled_M_K.shape[1]
    products = [
        scaled_M_K[:, first] * scaled_M_K[:, second]
        for first in range(count)
        for second in range(first, count)
    ]
    return np.column_stack([np.ones(len(scaled_M_K)), scaled_M_K, *products])


def _grid(points_M_K: FloatArray) -> FloatArray:
    count = points_M_K.shape[1]
    axes: list[FloatArray] = [
        np.linspace(low, high, GRID[count])
        for low, high in zip(points_M_K.min(axis=0), points_M_K.max(axis=0), strict=True)
    ]
    return np.stack([one.ravel() for one in np.meshgrid(*axes, indexing="ij")], axis=1)


def _is_dense(points_M_K: FloatArray, grid_G_K: FloatArray) -> NDArray[np.bool_]:
    return density(points_M_K, grid_G_K) >= MIN_DENSITY * density(points_M_K, points_M_K).max()


def _explained(points_M_K: FloatArray, metric: FloatArray) -> float:
    """Return 1 - (mean squared error of leave-one-out predictions) / (the metric's variance)."""
    errors: list[float] = []
    for left_out in range(len(points_M_K)):
        kept = np.arange(len(points_M_K)) != left_out
        surface = _fit(points_M_K[kept], metric[kept])
        errors.append(surface.metric(points_M_K[[left_out]])[0] - metric[left_out])
    variance = float(np.var(metric))
    return 1.0 - float(np.mean(np.square(errors))) / variance if variance > 0 else 0.0
