"""Standard deviation of each column over the population, averaged over generations."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from essa.types import FloatArray

KEPT = 0.9
"""Weight of the past generations in the moving average."""
FROZEN_AFTER = 20
"""Generations after which the scale is frozen: a multiplier needs a fixed unit."""


class RunningScale:
    """Running standard deviation of J columns.

    A generation in which all candidates have the same value in a column leaves that column's
    deviation unchanged; a column that never varied has deviation 0 and standardised values of 0.
    """

    def __init__(self, columns: int) -> None:
        self._spread = np.zeros(columns)
        self._seen = 0

    def see(self, means_N_J: FloatArray) -> None:
        """Update with one generation: values of shape (N, J), NaN is ignored column by column."""
        self._seen += 1
        if self._seen > FROZEN_AFTER and (self._spread > 0).all():
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            found = np.nan_to_num(np.nanstd(means_N_J, axis=0))
            # Equal values can have a deviation of 1e-17, because their mean is rounded.
            found[~(np.nanmax(means_N_J, axis=0) > np.nanmin(means_N_J, axis=0))] = 0.0
        mixed = np.where(self._spread > 0, KEPT * self._spread + (1 - KEPT) * found, found)
        self._spread = np.where(found > 0, mixed, self._spread)

    def over(self, differences: FloatArray) -> FloatArray:
        """Return differences (..., J) in standard deviations; 0 for a deviation of 0."""
        return differences * np.divide(
            1.0, self._spread, out=np.zeros_like(self._spread), where=self._spread > 0
        )

    def state(self) -> dict[str, Any]:
        """Return the JSON-able state."""
        return {"spread": self._spread.tolist(), "seen": self._seen}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore the result of `state`."""
        self._spread, self._seen = np.array(state["spread"]), int(state["seen"])
