"""Multiplier controllers: from component values to one fitness, and from violations to multipliers.

All values are turned as `ConstrainedProblem` does it. z are columns standardised over the
population, gaps are (threshold - value) of the constraints in the population's standard deviations:
positive where a threshold is not reached. Only the ranks of a fitness matter within a generation.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from essa.spec.constrained import (
    AugmentedLagrangianControllerSpec,
    ControllerSpec,
    ExactPenaltyControllerSpec,
    FixedWeightsControllerSpec,
    MuControllerSpec,
    XiControllerSpec,
)
from essa.types import FloatArray

MAX_GAP = 4.0
"""Standard deviations beyond which a violation pulls no harder: far away, direction is enough."""


class MultiplierController(ABC):
    """One controller. `update` is called once a generation, after `fitness`.

    Args:
        is_equality_K: which constraints are equalities.
        dimension: D, of the search.
    """

    def __init__(self, is_equality_K: NDArray[np.bool_], dimension: int) -> None:
        self.is_equality_K = is_equality_K
        self.dimension = dimension

    @property
    def multipliers_K(self) -> FloatArray:
        """Weight of each constraint now, as reports show it."""
        return np.zeros(len(self.is_equality_K))

    @property
    def is_exhausted_K(self) -> NDArray[np.bool_]:
        """Constraints whose multiplier is at its bound: their thresholds may be out of reach."""
        return np.zeros(len(self.is_equality_K), dtype=bool)

    @abstractmethod
    def fitness(self, z_N_J: FloatArray, gaps_N_K: FloatArray) -> FloatArray:
        """Fitness to maximise, shape (N,); NaN where a value is missing."""

    def update(self, gaps_K: FloatArray, change: Change | None) -> None:
        """Move the multipliers by the measured violation.

        Args:
            gaps_K: of the measured values, in standard deviations.
            change: since the generation before; None in the first.
        """
        return None

    def state(self) -> dict[str, Any]:
        """JSON-able; floats survive JSON to the last bit."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Take back what `state` gave."""
        return None


class Change:
    """What the measured values did since the generation before, in standard deviations."""

    def __init__(self, objective: float, gaps_K: FloatArray, earlier_gaps_K: FloatArray) -> None:
        self.objective = objective
        self.gaps_K = gaps_K - earlier_gaps_K
        self.earlier_gaps_K = earlier_gaps_K


class BoundedWeights(MultiplierController):
    """F = (K - sum phi) z_0 + sum phi_i z_i: equation 4.4 of arXiv:2310.04373 on component fitness.
    With the mixing `odds`, F = z_0 + sum phi_i / (1 - |phi_i|) z_i.

    phi is the logistic function (mu, inequalities) or the hyperbolic tangent (xi, equalities) of a
    raw multiplier, which rises by learning_rate x phi' x violation.
    """

    def __init__(
        self,
        spec: MuControllerSpec | XiControllerSpec,
        is_equality_K: NDArray[np.bool_],
        dimension: int,
    ) -> None:
        super().__init__(is_equality_K, dimension)
        self._spec = spec
        self._raw = np.zeros(len(is_equality_K))
        self._effective = self._raw.copy()

    @property
    def multipliers_K(self) -> FloatArray:
        return self._phi(self._effective)

    @property
    def is_exhausted_K(self) -> NDArray[np.bool_]:
        return np.abs(self._raw) >= self._spec.clip

    def fitness(self, z_N_J: FloatArray, gaps_N_K: FloatArray) -> FloatArray:
        phi = self.multipliers_K
        if self._spec.mixing == "odds":
            return z_N_J[:, 0] + z_N_J[:, 1:] @ (phi / (1 - np.abs(phi)))
        return (len(phi) - phi.sum()) * z_N_J[:, 0] + z_N_J[:, 1:] @ phi

    def update(self, gaps_K: FloatArray, change: Change | None) -> None:
        spec, clip = self._spec, self._spec.clip
        pull = np.clip(gaps_K, -MAX_GAP, MAX_GAP)
        # The clip is the anti-windup: what would go beyond the bound is not kept.
        self._raw = np.clip(self._raw + spec.learning_rate * self._slope() * pull, -clip, clip)
        self._effective = np.clip(self._raw + spec.damping * pull, -clip, clip)

    def state(self) -> dict[str, Any]:
        return {"raw": self._raw.tolist(), "effective": self._effective.tolist()}

    def restore(self, state: dict[str, Any]) -> None:
        self._raw, self._effective = np.array(state["raw"]), np.array(state["effective"])

    def _phi(self, raw: FloatArray) -> FloatArray:
        return np.tanh(raw) if self._spec.type == "xi" else 1 / (1 + np.exp(-raw))

    def _slope(self) -> FloatArray:
        phi = self._phi(self._raw)
        return 1 - phi**2 if self._spec.type == "xi" else phi * (1 - phi)


class AugmentedLagrangian(MultiplierController):
    """F = z_0 - sum psi_i, psi the augmented Lagrangian's penalty on the gaps.

    psi = lambda g + mu g^2 / 2 where mu g > -lambda or for an equality, else -lambda^2 / (2 mu);
    lambda rises by mu g / damping. Only lambda brings the optimum onto the threshold; mu steers.

    Source:
        Atamna, Auger and Hansen, PPSN 2016 and FOGA 2017; constants of the adaptation as in
        pycma's algorithm 1, its factor and its bounds from our own trials.
    """

    K1, K2, FACTOR, BOUND = 3.0, 5.0, 1.15, 10.0

    def __init__(
        self,
        spec: AugmentedLagrangianControllerSpec,
        is_equality_K: NDArray[np.bool_],
        dimension: int,
    ) -> None:
        super().__init__(is_equality_K, dimension)
        self._spec = spec
        self._lambda = np.zeros(len(is_equality_K))
        self._mu = np.full(len(is_equality_K), spec.penalty)

    @property
    def multipliers_K(self) -> FloatArray:
        return self._lambda.copy()

    @property
    def penalties_K(self) -> FloatArray:
        """The quadratic penalties now."""
        return self._mu.copy()

    @property
    def is_exhausted_K(self) -> NDArray[np.bool_]:
        return np.abs(self._lambda) >= self._spec.max_multiplier

    def fitness(self, z_N_J: FloatArray, gaps_N_K: FloatArray) -> FloatArray:
        pushed = self._lambda * gaps_N_K + 0.5 * self._mu * gaps_N_K**2
        idle = -(self._lambda**2) / (2 * self._mu)
        is_pushed = self.is_equality_K | (self._mu * gaps_N_K > -self._lambda)
        psi = np.where(is_pushed | np.isnan(gaps_N_K), pushed, idle)
        return z_N_J[:, 0] - psi.sum(axis=1)

    def update(self, gaps_K: FloatArray, change: Change | None) -> None:
        pull = np.clip(gaps_K, -MAX_GAP, MAX_GAP)
        moved = self._lambda + self._mu * pull / self._spec.damping
        lowest = np.where(self.is_equality_K, -self._spec.max_multiplier, 0.0)
        # Bounds are the anti-windup: a multiplier at its bound comes back with the first turn.
        self._lambda = np.clip(moved, lowest, self._spec.max_multiplier)
        if self._spec.adapt_penalty and change is not None:
            self._adapt(gaps_K, change)

    def _adapt(self, gaps_K: FloatArray, change: Change) -> None:
        moved = abs(-change.objective + float(self._lambda @ change.gaps_K))
        is_negligible = self._mu * gaps_K**2 < self.K1 * moved / self.dimension
        is_stalled = self.K2 * np.abs(change.gaps_K) < np.abs(change.earlier_gaps_K)
        up = is_negligible | is_stalled
        factor = np.where(up, self.FACTOR**0.25, 1 / self.FACTOR)
        start = self._spec.penalty
        self._mu = np.clip(self._mu * factor, start / self.BOUND, start * self.BOUND)

    def state(self) -> dict[str, Any]:
        return {"lambda": self._lambda.tolist(), "mu": self._mu.tolist()}

    def restore(self, state: dict[str, Any]) -> None:
        self._lambda, self._mu = np.array(state["lambda"]), np.array(state["mu"])


class ExactPenalty(MultiplierController):
    """F = z_0 - penalty x sum of violations: exact for a penalty above every multiplier."""

    def __init__(
        self, spec: ExactPenaltyControllerSpec, is_equality_K: NDArray[np.bool_], dimension: int
    ) -> None:
        super().__init__(is_equality_K, dimension)
        self._penalty = spec.penalty

    @property
    def multipliers_K(self) -> FloatArray:
        return np.full(len(self.is_equality_K), self._penalty)

    def fitness(self, z_N_J: FloatArray, gaps_N_K: FloatArray) -> FloatArray:
        missed = np.where(self.is_equality_K, np.abs(gaps_N_K), np.maximum(gaps_N_K, 0.0))
        return z_N_J[:, 0] - self._penalty * missed.sum(axis=1)


class FixedWeights(MultiplierController):
    """F = z_0 + sum w_i z_i. Knows no thresholds."""

    def __init__(
        self, spec: FixedWeightsControllerSpec, is_equality_K: NDArray[np.bool_], dimension: int
    ) -> None:
        super().__init__(is_equality_K, dimension)
        self._weights = np.array(spec.weights)

    @property
    def multipliers_K(self) -> FloatArray:
        return self._weights.copy()

    def fitness(self, z_N_J: FloatArray, gaps_N_K: FloatArray) -> FloatArray:
        return z_N_J[:, 0] + z_N_J[:, 1:] @ self._weights


_CONTROLLERS: dict[str, Any] = {
    "mu": BoundedWeights,
    "xi": BoundedWeights,
    "augmented_lagrangian": AugmentedLagrangian,
    "exact_penalty": ExactPenalty,
    "fixed_weights": FixedWeights,
}


def make_controller(
    spec: ControllerSpec, is_equality_K: NDArray[np.bool_], dimension: int
) -> MultiplierController:
    """The controller that a specification describes."""
    return _CONTROLLERS[spec.type](spec, is_equality_K, dimension)
