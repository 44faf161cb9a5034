"""Made-up distributions that stand in for missing measurements."""

from __future__ import annotations

import numpy as np

_DRAWS = 8192


def made_up_lengths(mean: float, spread: float, most: int, seed: int = 0) -> list[int]:
    """Return answer lengths drawn from a gamma distribution, clipped to the longest answer.

    Args:
        mean: mean length in tokens, after clipping.
        spread: standard deviation over mean, before clipping; 0 makes all lengths equal.
        most: maximum length in tokens (`max_tokens`).
    """
    if spread == 0 or mean >= most:
        return [max(1, round(mean))]
    shape = 1 / spread**2
    drawn = np.random.default_rng(seed).gamma(shape, 1 / shape, _DRAWS)
    # Clipping lowers the mean; bisection finds the mean before clipping that compensates for it.
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
    """Return random factors on an engine's times.

    Args:
        spread: standard deviation of the factors' logarithm.
        straggler_frac: share of engines that take `straggler_factor` times as long.
    """
    if spread == 0 and straggler_frac == 0:
        return (1.0,)
    drawn = np.exp(np.random.default_rng(seed).normal(0.0, spread, _DRAWS))
    drawn[: round(straggler_frac * _DRAWS)] *= straggler_factor
    return tuple(drawn.tolist())
