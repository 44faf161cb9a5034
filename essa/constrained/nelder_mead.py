"""Nelder-Mead as a state machine with ask and tell. Maximises."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from essa.constrained.plain import as_array, as_list
from essa.types import FloatArray

# Nelder & Mead (1965), The Computer Journal 7(4); the constants of Moskovitz et al. (2024), A.4.
REFLECTION, EXPANSION, CONTRACTION, SHRINK = 1.0, 2.0, 0.5, 0.5


class NelderMead:
    """A simplex of K + 1 points in a box.

    Args:
        vertices_V_K: initial points, shape (K + 1, K); none has a value yet.
        low_K, high_K: bounds of the box, shape (K,); points outside are moved onto its faces.
    """

    def __init__(self, vertices_V_K: FloatArray, low_K: FloatArray, high_K: FloatArray) -> None:
        self._low_K, self._high_K = np.array(low_K), np.array(high_K)
        self._vertices = np.clip(vertices_V_K, low_K, high_K)
        self._values = np.full(len(vertices_V_K), np.nan)
        self._move = "score"
        self._tried = self._vertices[0].copy()
        self._reflected, self._reflected_value = self._tried.copy(), np.nan

    @property
    def vertices_V_K(self) -> FloatArray:
        """Copy of the simplex, shape (K + 1, K)."""
        return self._vertices.copy()

    def ask(self) -> FloatArray:
        """Return the point whose value is needed, shape (K,); the same one until tell()."""
        return self._tried.copy()

    def tell(self, value: float) -> None:
        """Accept the value of the point from ask() (finite, larger is better) and move on."""
        if self._move == "score":
            self._values[self._unscored()[0]] = value
        else:
            after = {
                "reflect": self._after_reflect,
                "expand": self._after_expand,
                "contract": self._after_contract,
            }
            after[self._move](value)
        self._propose()

    def state(self) -> dict[str, Any]:
        """Return the JSON-able state, including the box."""
        return {
            "low": as_list(self._low_K),
            "high": as_list(self._high_K),
            "vertices": [as_list(vertex) for vertex in self._vertices],
            "values": as_list(self._values),
            "move": self._move,
            "tried": as_list(self._tried),
            "reflected": as_list(self._reflected),
            "reflected_value": as_list(np.array([self._reflected_value])),
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> NelderMead:
        """Return a simplex that continues from the result of `state()`."""
        vertices = np.stack([as_array(vertex) for vertex in state["vertices"]])
        simplex = cls(vertices, as_array(state["low"]), as_array(state["high"]))
        simplex._values = as_array(state["values"])
        simplex._move = state["move"]
        simplex._tried = as_array(state["tried"])
        simplex._reflected = as_array(state["reflected"])
        simplex._reflected_value = float(as_array(state["reflected_value"])[0])
        return simplex

    # -- moves; during a move the simplex is sorted, best first ---------------------------------

    def _after_reflect(self, value: float) -> None:
        self._reflected, self._reflected_value = self._tried, value
        if value > self._values[0]:
            self._try("expand", EXPANSION)
        elif value > self._values[-2]:
            self._replace_worst(self._reflected, value)
        else:
            # Contract outside the simplex if the reflection beat the worst point, else inside.
            is_outside = value > self._values[-1]
            self._try("contract", CONTRACTION if is_outside else -CONTRACTION)

    def _after_expand(self, value: float) -> None:
        if value > self._reflected_value:
            self._replace_worst(self._tried, value)
        else:
            self._replace_worst(self._reflected, self._reflected_value)

    def _after_contract(self, value: float) -> None:
        if value > max(self._reflected_value, self._values[-1]):
            self._replace_worst(self._tried, value)
            return
        best = self._vertices[0]
        self._vertices[1:] = best + SHRINK * (self._vertices[1:] - best)
        self._values[1:] = np.nan
        self._move = "score"

    def _replace_worst(self, point: FloatArray, value: float) -> None:
        self._vertices[-1], self._values[-1] = point, value
        self._move = "score"

    def _propose(self) -> None:
        """Choose the next point, unless a move has already chosen it."""
        if self._move != "score":
            return
        unscored = self._unscored()
        if len(unscored):
            self._tried = self._vertices[unscored[0]].copy()
            return
        order = np.argsort(-self._values, kind="stable")
        self._vertices, self._values = self._vertices[order], self._values[order]
        self._try("reflect", REFLECTION)

    def _try(self, move: str, factor: float) -> None:
        """Propose a point on the line from the worst vertex through the centroid of the others."""
        centroid = self._vertices[:-1].mean(axis=0)
        point = centroid + factor * (centroid - self._vertices[-1])
        self._move, self._tried = move, np.clip(point, self._low_K, self._high_K)

    def _unscored(self) -> NDArray[np.intp]:
        return np.flatnonzero(np.isnan(self._values))
