"""Random search: the baseline that learns nothing but a maximum."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from essa.search.base import BudgetShare, SearchStart, SearchStrategy
from essa.types import FloatArray

NOT_BETTER = "no candidate beats the best one so far"


class RandomSearch(SearchStrategy):
    """Gaussian samples around the center, forever; the mean is the best candidate seen.

    A candidate replaces the best one only if its fitness is strictly higher than any seen before,
    in whichever generation. Generations use different prompts, so this favours lucky candidates:
    validation, not this fitness, tells how good the mean is. Among equal best ones of a generation
    the strategy's own generator draws one.
    """

    kind: ClassVar[str] = "random"

    def __init__(self, start: SearchStart) -> None:
        super().__init__(start)
        self._center = start.first_mean()
        self._mean = start.first_mean()
        self._sigma = start.sigma_init
        self._best: float | None = None

    @property
    def mean(self) -> FloatArray:
        """Best candidate so far; the center before the first."""
        return self._mean.copy()

    @property
    def sigma(self) -> float:
        """The initial step size, for good."""
        return self._sigma

    def _sample(self) -> FloatArray:
        noise_N_D = self._rng.standard_normal((self.population, self.dimension))
        return self._center + self._sigma * noise_N_D

    def _update(
        self, asked_N_D: FloatArray, usable_N: FloatArray, budget: BudgetShare | None
    ) -> str:
        best = float(np.nanmax(usable_N))
        if self._best is not None and best <= self._best:
            return NOT_BETTER
        tied = np.flatnonzero(usable_N == best)
        winner = tied[0] if len(tied) == 1 else self._rng.choice(tied)
        self._best, self._mean = best, asked_N_D[winner].copy()
        return ""

    def _arrays(self) -> dict[str, np.ndarray]:
        return {"mean": self._mean, "center": self._center}

    def _scalars(self) -> dict[str, Any]:
        return {"best": self._best, "sigma": self._sigma}

    def _load(self, arrays: dict[str, np.ndarray], scalars: dict[str, Any]) -> None:
        self._mean, self._center = arrays["mean"], arrays["center"]
        self._best, self._sigma = scalars["best"], scalars["sigma"]
