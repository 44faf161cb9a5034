"""Constraints in one form: values that must be at least their thresholds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from essa.spec.constrained import DISTANCE, ConstrainedSpec
from essa.types import FloatArray


class ConstrainedProblem:
    """An objective and K constraints, with J = K + 1 columns: the objective, then the components.

    For `<=`, value and threshold are negated ("turned"), so a violation is always threshold minus
    value; an equality is violated on either side. Values are in units of their components.
    """

    def __init__(self, method: ConstrainedSpec) -> None:
        self.method = method
        constraints = method.constraints
        self.names = (method.objective, *(one.component for one in constraints))
        # A distance as objective is minimised.
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
        """Replace the thresholds: shape (K,), in the components' own signs."""
        self.thresholds_K = threshold_K * self._signs_J[1:]

    @property
    def threshold_K(self) -> FloatArray:
        """Thresholds in the components' own signs, shape (K,)."""
        return self.thresholds_K * self._signs_J[1:]

    def turned(self, values_J: FloatArray) -> FloatArray:
        """Return the columns with the signs of this class: shape (..., J), like `values_J`."""
        return values_J * self._signs_J

    def missed(self, turned_J: FloatArray) -> FloatArray:
        """Return how far values (..., J) miss each threshold: (..., K), component units, >= 0."""
        gaps = self.thresholds_K - turned_J[..., 1:]
        return np.where(self.is_equality_K, np.abs(gaps), np.maximum(gaps, 0.0))

    def violations(self, turned_J: FloatArray) -> FloatArray:
        """Return `missed` as shares of the components' ranges, shape (..., K)."""
        return self.missed(turned_J) / self.ranges_K

    def violation_of(self, index: int, value: float) -> float:
        """Return the violation of constraint `index` by a value in its component's own sign."""
        values_J = np.zeros(len(self.names))
        values_J[index + 1] = value
        return float(self.violations(self.turned(values_J))[index])

    def is_held(self, turned_J: FloatArray) -> NDArray[np.bool_]:
        """Return whether each constraint holds within its tolerance, (..., K); False for NaN."""
        return self.violations(turned_J) <= self.tolerances_K

    def merit(self, turned_J: FloatArray) -> tuple[float, ...]:
        """Return a sort key for values of shape (J,), larger is better: feasible values by
        objective, above infeasible values by sum of violations. Empty if a value is missing."""
        if not np.isfinite(turned_J).all():
            return ()
        objective = float(turned_J[0])
        if self.is_held(turned_J).all():
            return (1.0, objective)
        return (0.0, -float(self.violations(turned_J).sum()), objective)
