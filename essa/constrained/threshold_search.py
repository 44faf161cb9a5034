"""Search for the best thresholds within one run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from essa.constrained.nelder_mead import NelderMead
from essa.constrained.plain import as_array, as_list
from essa.errors import StateMismatchError
from essa.spec.constrained import ConstraintSpec
from essa.spec.threshold_search import ThresholdSearchSpec
from essa.types import FloatArray

NEAR = 0.05
"""Share of a range within which a threshold counts as reached, or two thresholds as the same."""
LEAST_REACH = 0.1
"""Minimum extent of the first simplex, as a share of a range."""
DRAWS = 16
"""Number of first simplices drawn; the one with the largest volume is used."""
MOST_REPEATS = 100
"""Consecutive moves to already scored thresholds after which the search ends."""


class ThresholdSearch:
    """Propose thresholds, wait until the run has reached them, and take the metric as their score.

    The run continues from its current vector for every proposal, so scores depend on the path. The
    first proposal is the specification's thresholds; the other points of the first simplex are
    drawn between the starting means and the best values that candidates have reached by then. Once
    all points lie within 5 % of the ranges, the best scored thresholds stay in force.

    Call `observe` once per generation; if it returns True, pass the metric of the mean vector to
    `score` and put `threshold_K` into force. All values have the components' own units and signs.

    Args:
        generations: generations of the whole run.
    Source:
        Moskovitz et al. (2024), arXiv:2310.04373, section 5.1 and Alg. 3. The first proposal, the
        choice among draws and the end are ours.
    """

    def __init__(
        self, spec: ThresholdSearchSpec, constraints: Sequence[ConstraintSpec], generations: int
    ) -> None:
        self._spec = spec
        self._constraints = tuple(constraints)
        self._range_K = np.array([rule.range for rule in constraints])
        self._is_down_K = np.array([rule.direction == "<=" for rule in constraints])
        self._is_up_K = np.array([rule.direction == ">=" for rule in constraints])
        self._most_generations = max(spec.settle, math.ceil(spec.budget_share * generations))
        self._rng = np.random.Generator(np.random.PCG64(spec.seed))
        self._simplex: NelderMead | None = None
        self._threshold_K = np.array([rule.threshold for rule in constraints], dtype=np.float64)
        self._scored: list[tuple[FloatArray, float]] = []
        count = len(self._constraints)
        self._start_K, self._low_K, self._high_K = np.full((3, count), np.nan)
        self._pursued = self._settled = 0
        self._is_done = False

    @property
    def threshold_K(self) -> FloatArray:
        """Thresholds to put into force, shape (K,)."""
        return self._threshold_K.copy()

    @property
    def is_done(self) -> bool:
        """True once the search has ended; the best thresholds stay in force."""
        return self._is_done

    @property
    def scored(self) -> tuple[tuple[FloatArray, float], ...]:
        """Tried thresholds, shape (K,), with their scores, in order."""
        return tuple((threshold_K.copy(), score) for threshold_K, score in self._scored)

    def observe(self, measured_K: FloatArray, candidates_N_K: FloatArray) -> bool:
        """Take in a generation and return whether the metric is needed.

        Args:
            measured_K: smoothed means of the constrained components, shape (K,), NaN if unknown.
            candidates_N_K: means of this generation's candidates, shape (N, K), NaN if missing.
        """
        self._start_K = np.where(np.isnan(self._start_K), measured_K, self._start_K)
        self._low_K = np.fmin(self._low_K, np.fmin.reduce(candidates_N_K, axis=0))
        self._high_K = np.fmax(self._high_K, np.fmax.reduce(candidates_N_K, axis=0))
        if self._is_done:
            return False
        self._pursued += 1
        self._settled = self._settled + 1 if self._is_reached(measured_K) else 0
        is_over = self._settled >= self._spec.settle or self._pursued >= self._most_generations
        return is_over and not np.isnan(self._start_K).any()

    def score(self, metric: float) -> None:
        """Score the thresholds in force by the metric of the mean vector, and move on.

        Args:
            metric: larger is better. If it is not finite, nothing changes and `observe` returns
                True again.
        """
        if self._is_done or not np.isfinite(metric):
            return
        self._scored.append((self._threshold_K.copy(), float(metric)))
        if self._simplex is None:
            self._simplex = self._first_simplex()
        self._pursued = self._settled = 0
        for _ in range(MOST_REPEATS):
            if self._is_small(self._simplex):
                break
            self._threshold_K = self._simplex.ask()
            known = self._known_score(self._threshold_K)
            if known is None:
                return
            self._simplex.tell(known)
        self._is_done = True
        self._threshold_K = max(self._scored, key=lambda pair: pair[1])[0].copy()

    def state(self) -> dict[str, Any]:
        """Return the JSON-able state, including the random generator."""
        return {
            "threshold": as_list(self._threshold_K),
            "scored": [[as_list(threshold_K), metric] for threshold_K, metric in self._scored],
            "start": as_list(self._start_K),
            "low": as_list(self._low_K),
            "high": as_list(self._high_K),
            "pursued": self._pursued,
            "settled": self._settled,
            "is_done": self._is_done,
            "simplex": None if self._simplex is None else self._simplex.state(),
            "rng": self._rng.bit_generator.state,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue bit-exactly from `state()` of a search with the same specification.

        Raises:
            StateMismatchError: the state has another number of thresholds.
        """
        saved, own = len(state["threshold"]), len(self._threshold_K)
        if saved != own:
            raise StateMismatchError(
                f"the saved threshold search has {saved} thresholds, this one {own}; resume with "
                "the method of the saved job, or start a new job"
            )
        self._threshold_K = as_array(state["threshold"])
        self._scored = [(as_array(threshold_K), metric) for threshold_K, metric in state["scored"]]
        self._start_K = as_array(state["start"])
        self._low_K, self._high_K = as_array(state["low"]), as_array(state["high"])
        self._pursued, self._settled = state["pursued"], state["settled"]
        self._is_done = state["is_done"]
        simplex = state["simplex"]
        self._simplex = None if simplex is None else NelderMead.from_state(simplex)
        self._rng.bit_generator.state = state["rng"]

    def _is_reached(self, measured_K: FloatArray) -> bool:
        over_K = (measured_K - self._threshold_K) / self._range_K
        # Above a lower bound, or below an upper bound, there is no violation.
        missed_K = np.where(self._is_up_K, np.minimum(over_K, 0), over_K)
        missed_K = np.where(self._is_down_K, np.maximum(over_K, 0), missed_K)
        return bool((np.abs(missed_K) < NEAR).all())

    def _first_simplex(self) -> NelderMead:
        """Return a simplex of the thresholds just scored and K points drawn towards the best."""
        first_K = self._threshold_K
        low_K, high_K = self._box()
        start_K = np.clip(self._start_K, low_K, high_K)
        far_K = np.where(self._is_down_K, low_K, high_K)
        share = self._rng.uniform(size=(DRAWS, len(first_K), len(first_K)))
        drawn = start_K + share * (far_K - start_K)
        volume = np.abs(np.linalg.det((drawn - first_K) / self._range_K))
        return NelderMead(np.vstack([first_K, drawn[np.argmax(volume)]]), low_K, high_K)

    def _box(self) -> tuple[FloatArray, FloatArray]:
        """Return low and high, shape (K,): the given bounds, else the range of values seen so far,
        widened to contain the first proposal and `LEAST_REACH`."""
        least_K = LEAST_REACH * self._range_K
        down_K = self._start_K - np.where(self._is_down_K, least_K, 0.0)
        up_K = self._start_K + np.where(self._is_down_K, 0.0, least_K)
        low_K = np.fmin(np.fmin(self._low_K, self._threshold_K), down_K)
        high_K = np.fmax(np.fmax(self._high_K, self._threshold_K), up_K)
        bounds = {bound.component: bound for bound in self._spec.bounds}
        for k, rule in enumerate(self._constraints):
            if rule.component in bounds:
                low_K[k], high_K[k] = bounds[rule.component].low, bounds[rule.component].high
        return low_K, high_K

    def _known_score(self, threshold_K: FloatArray) -> float | None:
        for other_K, metric in self._scored:
            if (np.abs(threshold_K - other_K) <= NEAR * self._range_K).all():
                return metric
        return None

    def _is_small(self, simplex: NelderMead) -> bool:
        return bool((np.ptp(simplex.vertices_V_K, axis=0) < NEAR * self._range_K).all())
