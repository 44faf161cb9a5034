"""Draw the fitted surface behind proxy points."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np

from essa.constrained.proxy_points import ProxyPoints, density

_GRID = 80


def draw(
    found: ProxyPoints, points_M_K: np.ndarray, metric: np.ndarray, name: str, path: Path
) -> bool:
    """Write a plot of the metric over one component, or over every pair of components.

    Returns:
        False if matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    pairs = list(combinations(range(len(found.names)), 2))
    figure = Figure(figsize=(5.5 * max(1, len(pairs)), 4.5), layout="constrained")
    axes = np.atleast_1d(figure.subplots(1, max(1, len(pairs))))
    if not pairs:
        _curve(axes[0], found, points_M_K, metric, name)
    for axis, pair in zip(axes, pairs, strict=False):
        shown = _surface(axis, found, points_M_K, metric, pair)
        figure.colorbar(shown, ax=axis, label=name)
    figure.savefig(path)
    return True


def _curve(axis, found: ProxyPoints, points_M_K, metric, name: str) -> None:
    line = np.linspace(points_M_K.min(), points_M_K.max(), _GRID)[:, None]
    axis.plot(line, found.surface.metric(line), color="C0")
    axis.scatter(points_M_K[:, 0], metric, s=14, color="C1")
    axis.axvline(found.thresholds[0], color="0.3", linestyle="--")
    axis.axvspan(*found.ci95[0], color="0.3", alpha=0.12)
    axis.set(xlabel=found.names[0], ylabel=name)


def _surface(axis, found: ProxyPoints, points_M_K, metric, pair: tuple[int, int]):
    """Draw the surface over two components, the others at their thresholds; faint without data."""
    grid = [np.linspace(points_M_K[:, k].min(), points_M_K[:, k].max(), _GRID) for k in pair]
    first, second = np.meshgrid(*grid, indexing="ij")
    places = np.tile(found.thresholds, (first.size, 1))
    places[:, pair[0]], places[:, pair[1]] = first.ravel(), second.ravel()
    heights = found.surface.metric(places).reshape(first.shape)
    thickness = density(points_M_K[:, pair], places[:, pair]).reshape(first.shape)
    shown = axis.pcolormesh(
        first, second, heights, alpha=np.clip(thickness / (0.2 * thickness.max()), 0.08, 1.0)
    )
    axis.scatter(*points_M_K[:, pair].T, c=metric, norm=shown.norm, s=16, edgecolors="0.2")
    place = [found.thresholds[k] for k in pair]
    errors = np.abs(np.array([found.ci95[k] for k in pair]).T - place)
    axis.errorbar(*place, xerr=errors[:, :1], yerr=errors[:, 1:], fmt="*", color="red", ms=14)
    axis.set(xlabel=found.names[pair[0]], ylabel=found.names[pair[1]])
    return shown
