"""From rewards per prompt to fitness per candidate, and how far the fitness can be trusted."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from essa.types import FloatArray

MIN_HALVED = 4
"""Prompts of a candidate under which halves of them say nothing."""


class Interval(NamedTuple):
    """A mean with its 95 % interval."""

    mean: float
    low: float
    high: float


def candidate_means(
    columns_N_P_J: FloatArray, max_missing_frac: float, groups: int = 1
) -> FloatArray:
    """Mean of every column over prompts; NaN for a candidate with too many missing scores.

    A missing score counts as its prompt's mean over the other candidates, so that losing a hard
    prompt is no advantage. A prompt that nobody has a score for is left out: it counts neither for
    nor against anyone.

    Args:
        columns_N_P_J: rewards side by side, NaN where missing. Not modified.
        max_missing_frac: of the prompts that somebody has a score for.
        groups: equal parts of the candidates, each with prompts of its own; see `essa.groups`.
            Means of a group are moved so that all groups have the same mean, which takes out how
            hard its prompts are.
    Returns:
        Shape (N, J).
    """
    if groups == 1:
        return _means_on_shared_prompts(columns_N_P_J, max_missing_frac)
    parts = [
        _means_on_shared_prompts(part, max_missing_frac) for part in np.split(columns_N_P_J, groups)
    ]
    overall_J = mean_of_known(np.concatenate(parts))
    return np.concatenate([part - mean_of_known(part) + overall_J for part in parts])


def informative_frac(columns_N_P_J: FloatArray, groups: int = 1) -> float:
    """Share of prompts on which the candidates that answered differ at all, in any column.

    The other prompts were paid for and say nothing. A missing score differs from nothing.
    """
    parts_G_M_P_J = np.stack(np.split(columns_N_P_J, groups))
    known = np.isfinite(parts_G_M_P_J)
    highest = np.where(known, parts_G_M_P_J, -np.inf).max(axis=1)
    lowest = np.where(known, parts_G_M_P_J, np.inf).min(axis=1)
    return float((highest > lowest).any(axis=-1).mean())


def _means_on_shared_prompts(columns_N_P_J: FloatArray, max_missing_frac: float) -> FloatArray:
    means = np.full((columns_N_P_J.shape[0], columns_N_P_J.shape[2]), np.nan)
    for column in range(columns_N_P_J.shape[2]):
        filled, is_usable = _fill_missing(columns_N_P_J[:, :, column], max_missing_frac)
        if is_usable.any():
            means[is_usable, column] = filled[is_usable].mean(axis=1)
    return means


def _only(means_N_J: FloatArray) -> FloatArray:
    return means_N_J[:, 0]


def split_half_reliability(
    columns_N_P_J: FloatArray,
    *,
    max_missing_frac: float,
    groups: int = 1,
    fitness: Callable[[FloatArray], FloatArray] = _only,
    splits: int = 20,
) -> float | None:
    """Correlation of candidate fitness over two halves of the prompts, averaged over random splits.

    Near 0 the fitness is noise and a search cannot move; near 1 the ranking is real. This is the
    reliability of *half* the batch, so it understates that of the whole. Missing scores and
    candidates are treated as in `candidate_means`.

    Args:
        columns_N_P_J: rewards side by side, NaN where missing.
        groups: of candidates with prompts of their own.
        fitness: from means over prompts, shape (N, J), to fitness, shape (N,).
        splits: random halvings, drawn from a fixed seed.
    Returns:
        In [-1, 1]; None with fewer than 3 candidates or 4 prompts, or without variance.
    """
    prompts = columns_N_P_J.shape[1]
    rng = np.random.default_rng(0)
    values: list[float] = []
    for _ in range(splits if prompts >= MIN_HALVED else 0):
        order = rng.permutation(prompts)
        halves = (order[: prompts // 2], order[prompts // 2 :])
        first, second = (
            fitness(candidate_means(columns_N_P_J[:, half], max_missing_frac, groups))
            for half in halves
        )
        both = np.isfinite(first) & np.isfinite(second)
        first, second = first[both], second[both]
        if len(first) >= 3 and first.std() > 1e-12 and second.std() > 1e-12:
            values.append(np.corrcoef(first, second)[0, 1])
    return float(np.mean(values)) if values else None


def _fill_missing(
    rewards_N_P: FloatArray, max_missing_frac: float
) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Rewards on the prompts that anybody has a score for, gaps filled; who has enough of them."""
    missing = np.isnan(rewards_N_P)
    known = ~missing.all(axis=0)
    if not known.any():
        return rewards_N_P[:, known], np.zeros(len(rewards_N_P), dtype=bool)
    rewards, missing = rewards_N_P[:, known], missing[:, known]
    filled = np.where(missing, np.nanmean(rewards, axis=0), rewards)
    return filled, missing.mean(axis=1) <= max_missing_frac


def bootstrap_interval(scores_P: FloatArray, *, resamples: int = 2000) -> Interval:
    """Mean over prompts and its 95 % percentile-bootstrap interval. NaN scores are left out.

    Args:
        scores_P: one score per prompt.
    Returns:
        All NaN where there is no score at all.
    """
    scores = scores_P[~np.isnan(scores_P)]
    if not len(scores):
        return Interval(np.nan, np.nan, np.nan)
    rng = np.random.default_rng(0)
    means: FloatArray = scores[rng.integers(len(scores), size=(resamples, len(scores)))].mean(
        axis=1
    )
    low, high = np.percentile(means, [2.5, 97.5])
    return Interval(float(scores.mean()), float(low), float(high))


def component_means(components: dict[str, FloatArray], row: int | None = None) -> dict[str, float]:
    """Mean of every component over prompts, for one candidate or for all of them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return {
            name: float(np.nanmean(values if row is None else values[row]))
            for name, values in components.items()
        }


def mean_of_known(means_N_J: FloatArray) -> FloatArray:
    """Mean over candidates that have a value, column by column; NaN where none has."""
    known = np.isfinite(means_N_J)
    total = np.where(known, means_N_J, 0.0).sum(axis=0)
    return np.divide(total, known.sum(axis=0), out=np.full(len(total), np.nan), where=known.any(0))
