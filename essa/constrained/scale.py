"""Spread of each column over the population, followed over generations."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from essa.types import FloatArray

KEPT = 0.9
"""Weight of the past."""
FROZEN_AFTER = 20
"""Generations after which the spread stays: multipliers have no meaning over a moving unit."""


class RunningScale:
    """Running standard deviation of J columns.

    A column that does not differ between candidates says nothing in that generation and leaves its
    spread alone; one that never did has none, and its standardised values are 0.
    """

    def __init__(self, columns: int) -> None:
        self._spread = np.zeros(columns)
        self._seen = 0

    def see(self, means_N_J: FloatArray) -> None:
        """Take in one generation; candidates with a missing value are left out column by column."""
        self._seen += 1
        if self._seen > FROZEN_AFTER and (self._spread > 0).all():
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            found = np.nan_to_num(np.nanstd(means_N_J, axis=0))
            # Equal values can have a deviation of 1e-17, by rounding of their mean.
            found[~(np.nanmax(means_N_J, axis=0) > np.nanmin(means_N_J, axis=0))] = 0.0
        mixed = np.where(self._spread > 0, KEPT * self._spread + (1 - KEPT) * found, found)
        self._spread = np.where(found > 0, mixed, self._spread)

    def over(self, differences: FloatArray) -> FloatArray:
        """Differences of column values in standard deviations; 0 for a column without spread."""
        return differences * np.divide(
            1.0, self._spread, out=np.zeros_like(self._spread), where=self._spread > 0
        )

    def state(self) -> dict[str, Any]:
        """JSON-able."""
        return {"spread": self._spread.tolist(), "seen": self._seen}

    def restore(self, state: dict[str, Any]) -> None:
        """Take back what `state` gave."""
        self._spread, self._seen = np.array(state["spread"]), int(state["seen"])
