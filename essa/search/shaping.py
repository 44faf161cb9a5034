"""From raw fitness to the weights of an update: missing scores, ties and ranks.

The one rule of the project, in this order:

1. A score that is not finite is missing. A missing candidate has no rank and weight 0; the others
   are ranked among themselves. Of an antithetic pair with one missing member, both are missing.
2. Fewer than two remaining candidates: `NonFiniteFitnessError`, and nothing changes.
3. All remaining candidates equal: the update is skipped, and nothing changes.
4. Tied candidates share the average of the weights of the ranks they occupy.

Weights that are fixed for a whole population (CMA-ES) are not computed anew for a smaller one:
there a missing candidate takes the worst ranks and then weight 0 (`recombination_weights`).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from essa.errors import NonFiniteFitnessError
from essa.types import FloatArray

MIN_USABLE = 2


class RecombinationWeights(NamedTuple):
    """Weights of one CMA-ES update, per candidate, shape (N,) each.

    `mean` is non-negative and sums to 1; `covariance` may be negative.
    """

    mean: FloatArray
    covariance: FloatArray


def usable_fitness(fitness_N: FloatArray, *, antithetic: bool = False) -> FloatArray:
    """Return a copy with every missing candidate set to NaN (rules 1 and 2).

    Args:
        fitness_N: shape (N,), higher is better; anything not finite is missing.
        antithetic: candidates 2i and 2i + 1 are a pair and count only together.

    Returns:
        Shape (N,), float64, a new array.

    Raises:
        NonFiniteFitnessError: fewer than two candidates remain.
    """
    usable = np.array(fitness_N, dtype=np.float64)
    usable[~np.isfinite(usable)] = np.nan
    if antithetic:
        usable[np.repeat(np.isnan(usable[0::2] + usable[1::2]), 2)] = np.nan
    remaining = int(np.count_nonzero(~np.isnan(usable)))
    if remaining < MIN_USABLE:
        unit = "candidates in complete antithetic pairs" if antithetic else "candidates"
        raise NonFiniteFitnessError(
            f"{remaining} of {len(usable)} {unit} have a finite fitness and an update needs "
            f"{MIN_USABLE}; look at the failures of this generation, or raise search.population "
            "or batch_size so that single failures matter less",
            remaining=remaining,
            population=len(usable),
        )
    return usable


def is_flat(usable_N: FloatArray) -> bool:
    """True if no usable candidate is better than another (rule 3)."""
    return bool(np.nanmax(usable_N) == np.nanmin(usable_N))


def average_over_ties(weights_by_rank: FloatArray, usable_N: FloatArray) -> FloatArray:
    """Hand weights, best rank first, to candidates; ties share their average (rule 4).

    Args:
        weights_by_rank: at least as many weights as there are usable candidates.
        usable_N: shape (N,), NaN is missing.

    Returns:
        Shape (N,); 0 for a missing candidate.
    """
    weights_N = np.zeros(len(usable_N))
    present = np.flatnonzero(~np.isnan(usable_N))
    # Group 0 is the best: np.unique sorts ascending, so the values are negated.
    _, group, counts = np.unique(-usable_N[present], return_inverse=True, return_counts=True)
    starts = np.concatenate(([0], np.cumsum(counts)[:-1]))
    sums = np.add.reduceat(np.asarray(weights_by_rank, dtype=np.float64)[: len(present)], starts)
    weights_N[present] = (sums / counts)[group]
    return weights_N


def centred_ranks(usable_N: FloatArray) -> FloatArray:
    """Ranks mapped to [-1/2, 1/2], ties averaged, 0 for a missing candidate.

    Source:
        Salimans et al. (2017), arXiv:1703.03864, section 2, fitness shaping; the average rank for
        ties is ours.
    """
    count = int(np.count_nonzero(~np.isnan(usable_N)))
    return average_over_ties(np.linspace(0.5, -0.5, count), usable_N)


def nes_utilities(usable_N: FloatArray) -> FloatArray:
    """Utilities of natural evolution strategies: sum 0, 0 for a missing candidate.

    Source:
        Wierstra et al. (2014), JMLR 15, section 3.1: u_k = max(0, ln(n/2 + 1) - ln k) over its
        sum, minus 1/n, for the n usable candidates.
    """
    count = int(np.count_nonzero(~np.isnan(usable_N)))
    raw = np.maximum(0.0, np.log(count / 2 + 1) - np.log(np.arange(1, count + 1)))
    return average_over_ties(raw / raw.sum() - 1 / count, usable_N)


def recombination_weights(
    weights_by_rank: FloatArray, usable_N: FloatArray
) -> RecombinationWeights:
    """Share the fixed weights of CMA-ES among candidates.

    Missing candidates take the worst ranks, then weight 0; where that leaves fewer usable
    candidates than parents, the positive weights are scaled back to the sum 1. Averaging over ties
    is the expectation over random orders of the tied candidates, for the mean (which takes only
    the positive weights) and for the covariance alike.

    Args:
        weights_by_rank: shape (N,), best first, positive ones summing to 1, the rest <= 0.
        usable_N: shape (N,), NaN is missing.
    """
    kept = np.array(weights_by_rank, dtype=np.float64)
    kept[int(np.count_nonzero(~np.isnan(usable_N))) :] = 0.0
    positive = np.maximum(kept, 0.0)
    positive /= positive.sum()
    negative = np.minimum(kept, 0.0)
    mean = average_over_ties(positive, usable_N)
    return RecombinationWeights(mean, mean + average_over_ties(negative, usable_N))


def best_first(usable_N: FloatArray) -> list[int]:
    """Candidate numbers from best to worst, missing ones last, ties in candidate order."""
    return [int(n) for n in np.argsort(-usable_N, kind="stable")]
