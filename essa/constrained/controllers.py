"""Multiplier controllers: from component values to one fitness, and from violations to multipliers.

All values have the signs of `ConstrainedProblem.turned`. z holds the columns standardised over the
population; a gap is (threshold - value) of a constraint, in the population's standard deviations,
and is positive if the threshold is not reached. Within a generation only fitness ranks matter.
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
"""Bound on a gap's effect, in standard deviations: far away, the direction is enough."""


class MultiplierController(ABC):
    """Base class of controllers. `update` is called once per generation, after `fitness`.

    Args:
        is_equality_K: shape (K,), True for constraints that are equalities.
        dimension: search dimension D.
    """

    def __init__(self, is_equality_K: NDArray[np.bool_], dimension: int) -> None:
        self.is_equality_K = is_equality_K
        self.dimension = dimension

    @property
    def multipliers_K(self) -> FloatArray:
        """Current weight of each constraint, as reports show it, shape (K,)."""
        return np.zeros(len(self.is_equality_K))

    @property
    def is_exhausted_K(self) -> NDArray[np.bool_]:
        """True for a multiplier at its bound (its threshold may be out of reach), shape (K,)."""
        return np.zeros(len(self.is_equality_K), dtype=bool)

    @abstractmethod
    def fitness(self, z_N_J: FloatArray, gaps_N_K: FloatArray) -> FloatArray:
        """Combine the columns into one fitness to maximise.

        Args:
            z_N_J: shape (N, J), standardised columns: the objective, then the K constraints.
            gaps_N_K: shape (N, K), gaps of the candidates, in standard deviations.
        Returns:
            Shape (N,); NaN if one of a candidate's values is missing.
        """

    def update(self, gaps_K: FloatArray, change: Change | None) -> None:
        """Move the multipliers by the measured violation.

        Args:
            gaps_K: shape (K,), gaps of the measured values, in standard deviations.
            change: change since the previous generation; None in the first.
        """
        return None

    def state(self) -> dict[str, Any]:
        """Return the JSON-able state; JSON keeps every bit of a float."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore the result of `state`."""
        return None


class Change:
    """Change of the measured values since the previous generation, in standard deviations.

    Args:
        objective: change of the objective, positive if it improved.
        gaps_K: shape (K,), gaps now; the attribute `gaps_K` holds their change.
        earlier_gaps_K: shape (K,), gaps in the previous generation.
    """

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
        # Clipping is the anti-windup: nothing accumulates beyond the bound.
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
    """F = z_0 - sum psi_i, where psi is the augmented Lagrangian's penalty on the gaps.

    psi = lambda g + mu g^2 / 2 for an equality or if mu g > -lambda, else -lambda^2 / (2 mu);
    lambda rises by mu g / damping. Only lambda moves the optimum onto the threshold; mu sets how
    fast.

    Source:
        Atamna, Auger and Hansen, PPSN 2016 and FOGA 2017; the constants of the adaptation are those
        of pycma's algorithm 1, its factor and bounds come from our own trials.
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
        """Current quadratic penalties mu, shape (K,)."""
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
        # Bounds are the anti-windup: a multiplier at its bound recovers once the gap reverses.
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
    """F = z_0 - penalty x sum of violations; exact if the penalty exceeds every multiplier."""

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
    """F = z_0 + sum w_i z_i, regardless of thresholds."""

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
    """Build the controller that a specification describes.

    Args:
        spec: settings of the controller.
        is_equality_K: shape (K,), True for constraints that are equalities.
        dimension: search dimension D.
    """
    return _CONTROLLERS[spec.type](spec, is_equality_K, dimension)
