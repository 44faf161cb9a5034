"""Separable natural evolution strategy."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from essa.search.base import BudgetShare, SearchStart, SearchStrategy
from essa.search.shaping import nes_utilities
from essa.types import FloatArray


class Snes(SearchStrategy):
    """SNES: natural gradient on the mean and on one standard deviation per coordinate.

    Source:
        Wierstra et al. (2014), JMLR 15, Algorithm 6; rates of its Table 1. The floor is ours:
        without evolution paths the standard deviations follow noise down.
    """

    kind: ClassVar[str] = "snes"

    def __init__(
        self,
        start: SearchStart,
        *,
        learning_rate_mean: float = 1.0,
        learning_rate_sigma: float | None = None,
        sigma_min: float = 0.0,
    ) -> None:
        super().__init__(start)
        dimension = start.dimension
        self._rate_mean = learning_rate_mean
        self._rate_sigma = learning_rate_sigma or (3 + np.log(dimension)) / (5 * np.sqrt(dimension))
        self._floor = sigma_min
        self._mean = start.first_mean()
        self._stds = np.full(dimension, max(start.sigma_init, sigma_min))
        self._noise_N_D = np.zeros((start.population, dimension))

    @property
    def mean(self) -> FloatArray:
        """Mean of the distribution."""
        return self._mean.copy()

    @property
    def sigma(self) -> float:
        """Geometric mean of the coordinates' standard deviations."""
        return float(np.exp(np.mean(np.log(self._stds))))

    @property
    def axis_ratio(self) -> float:
        """Largest over smallest standard deviation."""
        return float(self._stds.max() / self._stds.min())

    def _sample(self) -> FloatArray:
        self._noise_N_D = self._rng.standard_normal((self.population, self.dimension))
        return self._mean + self._stds * self._noise_N_D

    def _update(
        self, asked_N_D: FloatArray, usable_N: FloatArray, budget: BudgetShare | None
    ) -> str:
        utilities_N = nes_utilities(usable_N)
        self._mean = self._mean + self._rate_mean * self._stds * (utilities_N @ self._noise_N_D)
        gradient = utilities_N @ (self._noise_N_D**2 - 1)
        grown = self._stds * np.exp(0.5 * self._rate_sigma * gradient)
        self._stds = np.maximum(grown, self._floor)
        return ""

    def _arrays(self) -> dict[str, np.ndarray]:
        return {"mean": self._mean, "stds": self._stds, "noise": self._noise_N_D}

    def _scalars(self) -> dict[str, Any]:
        return {}

    def _load(self, arrays: dict[str, np.ndarray], scalars: dict[str, Any]) -> None:
        self._mean, self._stds = arrays["mean"], arrays["stds"]
        self._noise_N_D = arrays["noise"]
