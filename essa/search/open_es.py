"""Antithetic evolution strategy with centred ranks."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np

from essa.search.antithetic import NO_DIFFERENCE, AntitheticStrategy
from essa.search.base import BudgetShare, SearchStart
from essa.search.shaping import centred_ranks
from essa.types import FloatArray

# Kingma & Ba (2015), arXiv:1412.6980, Algorithm 1.
BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8


class OpenAiEs(AntitheticStrategy):
    """OpenAI-ES: candidates m + sigma z and m - sigma z, ranked together, sigma fixed.

    The direction is sum_i w_i z_i with w_i = u(m + sigma z_i) - u(m - sigma z_i), u the centred
    rank, and w scaled to unit Euclidean norm. Then, without any signal, every coordinate of the
    direction has variance 1 whatever the population, so that `learning_rate` times sigma is the
    typical step of a coordinate under both optimisers. `weight_decay` is the share of the distance
    to the center given back each generation, apart from the optimiser (decoupled).

    Source:
        Salimans et al. (2017), arXiv:1703.03864, Algorithm 1 and section 2; scaling and decay ours.
    """

    kind: ClassVar[str] = "openai_es"

    def __init__(
        self,
        start: SearchStart,
        *,
        optimizer: Literal["adam", "sgd"] = "adam",
        learning_rate: float = 0.2,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(start)
        self._optimizer = optimizer
        self._rate = learning_rate
        self._decay = weight_decay
        self._center = start.first_mean()
        self._first_moment = np.zeros(start.dimension)
        self._second_moment = np.zeros(start.dimension)
        self._steps = 0

    def _update(
        self, asked_N_D: FloatArray, usable_N: FloatArray, budget: BudgetShare | None
    ) -> str:
        ranks_N = centred_ranks(usable_N)
        pair_weights = ranks_N[0::2] - ranks_N[1::2]
        norm = float(np.linalg.norm(pair_weights))
        if norm == 0:
            return NO_DIFFERENCE
        direction = (pair_weights / norm) @ self._noise
        step = direction if self._optimizer == "sgd" else self._adam(direction)
        pulled = self._center + (1 - self._decay) * (self._mean - self._center)
        self._mean = pulled + self._rate * self._sigma * step
        return ""

    def _adam(self, direction: FloatArray) -> FloatArray:
        self._steps += 1
        self._first_moment = BETA_1 * self._first_moment + (1 - BETA_1) * direction
        self._second_moment = BETA_2 * self._second_moment + (1 - BETA_2) * direction**2
        first = self._first_moment / (1 - BETA_1**self._steps)
        second = self._second_moment / (1 - BETA_2**self._steps)
        return first / (np.sqrt(second) + EPSILON)

    def _arrays(self) -> dict[str, np.ndarray]:
        return {
            "mean": self._mean,
            "center": self._center,
            "noise": self._noise,
            "first_moment": self._first_moment,
            "second_moment": self._second_moment,
        }

    def _scalars(self) -> dict[str, Any]:
        return {"sigma": self._sigma, "steps": self._steps}

    def _load(self, arrays: dict[str, np.ndarray], scalars: dict[str, Any]) -> None:
        self._mean, self._center = arrays["mean"], arrays["center"]
        self._noise = arrays["noise"]
        self._first_moment = arrays["first_moment"]
        self._second_moment = arrays["second_moment"]
        self._sigma, self._steps = scalars["sigma"], scalars["steps"]
