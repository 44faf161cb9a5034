"""Numbers of a comparison as people read them; what is not known is blank."""

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
    """Three decimals."""
    return "" if value is None or not math.isfinite(value) else f"{value:.3f}"


def seconds(value: float | None) -> str:
    """With as many digits as matter."""
    if value is None or not math.isfinite(value):
        return ""
    return f"{value:,.0f} s" if value >= 100 else f"{value:.1f} s"


def count(value: float | None) -> str:
    """Whole, with thousands."""
    return "" if value is None or not math.isfinite(value) else f"{value:,.0f}"


def plain(value: float | None) -> str:
    """Four significant digits."""
    return "" if value is None or not math.isfinite(value) else f"{value:.4g}"


def memory(value: float | None) -> str:
    """In GiB."""
    return "" if value is None else f"{value / _GIB:.2f} GiB"


def times(value: float | None) -> str:
    """A ratio."""
    return "" if value is None else f"{value:.3g}×"


def amount(axis: str) -> Callable[[float | None], str]:
    """How values of an axis are written."""
    return seconds if axis.endswith("_s") else count


def over_seeds(found: Spread | None, written: Callable[[float | None], str]) -> str:
    """Mean and range; the value alone where all seeds have the same."""
    if found is None:
        return ""
    low, high = written(found.low), written(found.high)
    return written(found.mean) if low == high else f"{written(found.mean)} ({low} to {high})"
