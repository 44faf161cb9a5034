"""Made-up distributions, for what was not measured."""

from __future__ import annotations

import numpy as np

_DRAWS = 8192


def made_up_lengths(mean: float, spread: float, most: int, seed: int = 0) -> list[int]:
    """Lengths of a gamma distribution, cut off at the longest answer.

    Args:
        mean: tokens, of what remains after the cut.
        spread: standard deviation over mean, before the cut; 0 makes all alike.
        most: max_tokens.
    """
    if spread == 0 or mean >= most:
        return [max(1, round(mean))]
    shape = 1 / spread**2
    drawn = np.random.default_rng(seed).gamma(shape, 1 / shape, _DRAWS)
    # The cut takes from the mean, so what is cut must be longer; halving finds by how much.
    low, high = mean, mean
    while np.minimum(high * drawn, most).mean() < mean and high < 1e3 * most:
        high *= 2
    for _ in range(40):
        middle = (low + high) / 2
        if np.minimum(middle * drawn, most).mean() < mean:
            low = middle
        else:
            high = middle
    return np.clip(np.rint(high * drawn), 1, most).astype(int).tolist()


def made_up_slowness(
    spread: float, straggler_frac: float = 0.0, straggler_factor: float = 2.0, seed: int = 0
) -> tuple[float, ...]:
    """Factors on an engine's times.

    Args:
        spread: standard deviation of their logarithm.
        straggler_frac: of engines that take `straggler_factor` times as long.
    """
    if spread == 0 and straggler_frac == 0:
        return (1.0,)
    drawn = np.exp(np.random.default_rng(seed).normal(0.0, spread, _DRAWS))
    drawn[: round(straggler_frac * _DRAWS)] *= straggler_factor
    return tuple(drawn.tolist())
