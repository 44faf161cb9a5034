"""Antithetic pairs around a mean, at a fixed distance: shared by the strategies that use them."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from essa.errors import SpecError
from essa.search.base import SearchStart, SearchStrategy
from essa.types import FloatArray

NO_DIFFERENCE = "the two members of every antithetic pair are equally good"


class AntitheticStrategy(SearchStrategy):
    """Candidates m + sigma z and m - sigma z, z standard normal; sigma never changes.

    Source:
        Salimans et al. (2017), arXiv:1703.03864, section 2.1.
    """

    antithetic: ClassVar[bool] = True

    def __init__(self, start: SearchStart) -> None:
        super().__init__(start)
        if start.population % 2:
            raise SpecError(
                f"search.population is {start.population}; antithetic pairs need an even number",
                field="search.population",
            )
        self._sigma = start.sigma_init
        self._mean = start.first_mean()
        self._noise = np.zeros((start.population // 2, start.dimension))
        """The z of every pair, shape (N / 2, D)."""

    @property
    def mean(self) -> FloatArray:
        """Mean of the distribution."""
        return self._mean.copy()

    @property
    def sigma(self) -> float:
        """Standard deviation of candidates around the mean, the same in every generation."""
        return self._sigma

    def _sample(self) -> FloatArray:
        self._noise = self._rng.standard_normal((self.population // 2, self.dimension))
        signed = np.repeat(self._noise, 2, axis=0)
        signed[1::2] *= -1
        return self._mean + self._sigma * signed
