"""Format the numbers of a comparison; an unknown number is blank."""

from __future__ import annotations

import math
from collections.abc import Callable

from essa.comparison.spread import Spread

AXIS_NAMES = {
    "wall_s": "wall-clock time",
    "device_s": "device-seconds",
    "tokens": "tokens",
    "samples": "samples",
}
PART_NAMES = {
    "rollout_s": "rollouts",
    "reward_s": "reward",
    "train_s": "training",
    "coordinator_s": "coordination",
}

_GIB = 2**30


def score(value: float | None) -> str:
    """Format with three decimals."""
    return "" if value is None or not math.isfinite(value) else f"{value:.3f}"


def seconds(value: float | None) -> str:
    """Format seconds with as many digits as matter."""
    if value is None or not math.isfinite(value):
        return ""
    return f"{value:,.0f} s" if value >= 100 else f"{value:.1f} s"


def count(value: float | None) -> str:
    """Format as a whole number with thousands separators."""
    return "" if value is None or not math.isfinite(value) else f"{value:,.0f}"


def plain(value: float | None) -> str:
    """Format with four significant digits."""
    return "" if value is None or not math.isfinite(value) else f"{value:.4g}"


def memory(value: float | None) -> str:
    """Format bytes in GiB."""
    return "" if value is None else f"{value / _GIB:.2f} GiB"


def times(value: float | None) -> str:
    """Format a ratio."""
    return "" if value is None else f"{value:.3g}×"


def amount(axis: str) -> Callable[[float | None], str]:
    """Return the function that formats values of an axis."""
    return seconds if axis.endswith("_s") else count


def over_seeds(found: Spread | None, written: Callable[[float | None], str]) -> str:
    """Format mean and range, or a single value if all seeds have the same."""
    if found is None:
        return ""
    low, high = written(found.low), written(found.high)
    return written(found.mean) if low == high else f"{written(found.mean)} ({low} to {high})"
