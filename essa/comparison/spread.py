"""A number over seeds: its mean and its range."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Spread:
    """Mean, lowest and highest value over seeds, and the number of seeds."""

    mean: float
    low: float
    high: float
    count: int


def spread(values: Iterable[float | None]) -> Spread | None:
    """Return the spread of the known values; None if there are none."""
    known = _known(values)
    if not known:
        return None
    return Spread(float(np.mean(known)), min(known), max(known), len(known))


def ratio_spread(values: Iterable[float | None]) -> Spread | None:
    """Return the spread of ratios with their geometric mean, so that 2 and 1/2 average to 1."""
    known = _known(values)
    if not known or min(known) <= 0:
        return None
    return Spread(float(np.exp(np.mean(np.log(known)))), min(known), max(known), len(known))


def ratio(reference: float | None, own: float | None) -> float | None:
    """Return `reference / own`; None if either is unknown or `own` is 0."""
    return None if reference is None or not own else reference / own


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None and math.isfinite(value)]
