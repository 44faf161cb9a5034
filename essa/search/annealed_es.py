"""Antithetic evolution strategy for noisy rewards: raw differences, a step that falls to zero."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from essa.errors import SearchError
from essa.search.antithetic import NO_DIFFERENCE, AntitheticStrategy
from essa.search.base import BudgetShare, SearchStart
from essa.types import FloatArray


class AnnealedEs(AntitheticStrategy):
    """Pairs m + sigma z and m - sigma z, weighted by their difference; the step follows the budget.

    The direction is sum_i w_i z_i, where w_i is the difference of pair i and w is scaled to unit
    Euclidean norm. Differences are not ranked: a pair may stand on prompts of its own, where only
    its own two members can be compared. Without any signal every coordinate of the direction has
    variance 1, so the mean walks at random. A generation that takes the budget from a share p to
    p + dp moves every coordinate by about

        radius * sqrt(3 dp) * (1 - p)

    which adds up to `radius` over the whole budget, however many generations that has: with T equal
    ones the first step is radius / sqrt(T / 3), and steps fall linearly to zero. Where a reward
    is mostly noise, this radius decides whether a run learns; no quantity that one generation shows
    can adapt a step there.

    Source:
        Pairs and direction: Salimans et al. (2017), arXiv:1703.03864, Algorithm 1 and section 2.1.
        Scaling and schedule are ours.
    """

    kind: ClassVar[str] = "annealed_es"

    def __init__(self, start: SearchStart, *, radius: float) -> None:
        """Start.

        Args:
            radius: distance that noise alone moves a coordinate over the whole budget, as a
                multiple of sigma.
        """
        super().__init__(start)
        self._radius = radius * start.sigma_init

    def _update(
        self, asked_N_D: FloatArray, usable_N: FloatArray, budget: BudgetShare | None
    ) -> str:
        if budget is None:
            raise SearchError(
                "annealed_es takes its step from the share of the budget that is used"
            )
        step = self._radius * np.sqrt(3 * (budget.after - budget.before)) * (1 - budget.before)
        differences = np.nan_to_num(usable_N[0::2] - usable_N[1::2])
        norm = float(np.linalg.norm(differences))
        if norm == 0:
            return NO_DIFFERENCE
        self._mean = self._mean + step * ((differences / norm) @ self._noise)
        return ""

    def _arrays(self) -> dict[str, np.ndarray]:
        return {"mean": self._mean, "noise": self._noise}

    def _scalars(self) -> dict[str, Any]:
        return {"sigma": self._sigma}

    def _load(self, arrays: dict[str, np.ndarray], scalars: dict[str, Any]) -> None:
        self._mean, self._noise = arrays["mean"], arrays["noise"]
        self._sigma = scalars["sigma"]
