"""Constraints in one form: values that must reach thresholds from below."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from essa.spec.constrained import DISTANCE, ConstrainedSpec
from essa.types import FloatArray


class ConstrainedProblem:
    """Columns are the objective and then the constrained components, K of them, J = K + 1.

    `<=` is turned round: value and threshold change their signs. So a violation is always threshold
    minus value, and an equality may miss on either side.
    """

    def __init__(self, method: ConstrainedSpec) -> None:
        self.method = method
        constraints = method.constraints
        self.names = (method.objective, *(one.component for one in constraints))
        # A distance that is the objective is to be small.
        first = -1.0 if method.objective == DISTANCE else 1.0
        turned = [-1.0 if one.direction == "<=" else 1.0 for one in constraints]
        self._signs_J = np.array([first, *turned])
        self.thresholds_K = np.zeros(len(constraints))
        self.ranges_K = np.array([one.range for one in constraints])
        self.tolerances_K = np.array([one.tolerance for one in constraints])
        self.set_thresholds(np.array([one.threshold for one in constraints]))
        self.is_equality_K: NDArray[np.bool_] = np.array(
            [one.direction == "=" for one in constraints]
        )

    def set_thresholds(self, threshold_K: FloatArray) -> None:
        """Go on with other thresholds, in the components' own signs."""
        self.thresholds_K = threshold_K * self._signs_J[1:]

    @property
    def threshold_K(self) -> FloatArray:
        """Thresholds in the components' own signs."""
        return self.thresholds_K * self._signs_J[1:]

    def turned(self, values_J: FloatArray) -> FloatArray:
        """Values of the columns, signs as this class wants them. Last axis J."""
        return values_J * self._signs_J

    def missed(self, turned_J: FloatArray) -> FloatArray:
        """By how much each threshold is missed, in the component's units, >= 0. Last axis K."""
        gaps = self.thresholds_K - turned_J[..., 1:]
        return np.where(self.is_equality_K, np.abs(gaps), np.maximum(gaps, 0.0))

    def violations(self, turned_J: FloatArray) -> FloatArray:
        """`missed` as shares of the ranges. Last axis K."""
        return self.missed(turned_J) / self.ranges_K

    def violation_of(self, index: int, value: float) -> float:
        """Violation of one constraint by a value in the component's own sign."""
        values_J = np.zeros(len(self.names))
        values_J[index + 1] = value
        return float(self.violations(self.turned(values_J))[index])

    def is_held(self, turned_J: FloatArray) -> NDArray[np.bool_]:
        """Which constraints hold within their tolerances. Last axis K; a missing value does not."""
        return self.violations(turned_J) <= self.tolerances_K

    def merit(self, turned_J: FloatArray) -> tuple[float, ...]:
        """Orders vectors, larger is better: feasible before infeasible, then by objective; among
        infeasible ones the smaller sum of violations first. Empty where a value is missing."""
        if not np.isfinite(turned_J).all():
            return ()
        objective = float(turned_J[0])
        if self.is_held(turned_J).all():
            return (1.0, objective)
        return (0.0, -float(self.violations(turned_J).sum()), objective)
