"""A number over seeds: its mean and its range."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Spread:
    """Mean, lowest, highest, and of how many seeds."""

    mean: float
    low: float
    high: float
    count: int


def spread(values: Iterable[float | None]) -> Spread | None:
    """Over what is known; None where nothing is."""
    known = _known(values)
    if not known:
        return None
    return Spread(float(np.mean(known)), min(known), max(known), len(known))


def ratio_spread(values: Iterable[float | None]) -> Spread | None:
    """Of ratios, whose mean is geometric: twice and half as much are the same, once."""
    known = _known(values)
    if not known or min(known) <= 0:
        return None
    return Spread(float(np.exp(np.mean(np.log(known)))), min(known), max(known), len(known))


def ratio(reference: float | None, own: float | None) -> float | None:
    """How many times as much the reference has; None where either is unknown or own is 0."""
    return None if reference is None or not own else reference / own


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None and math.isfinite(value)]
