"""The objective of constrained search: a component to maximise, others held at thresholds."""

from __future__ import annotations

from typing import Any

import numpy as np

from essa.constrained.controllers import Change, make_controller
from essa.constrained.plain import as_array, as_list
from essa.constrained.problem import ConstrainedProblem
from essa.constrained.scale import RunningScale
from essa.constrained.threshold_search import ThresholdSearch
from essa.errors import CheckpointIncompatibleError
from essa.events import ConstraintStatus
from essa.objective.fitness import Interval, bootstrap_interval, mean_of_known
from essa.objective.objective import Objective, Statuses, Verdict
from essa.spec.constrained import DISTANCE, ConstrainedSpec
from essa.types import FloatArray, PopulationScores


class ConstrainedObjective(Objective):
    """Columns are the objective and every constrained component, J = K + 1 of them.

    Args:
        dimension: D, of the search.
        generations: of the whole run; a search over thresholds divides them.
    """

    def __init__(
        self,
        method: ConstrainedSpec,
        dimension: int,
        generations: int,
        max_missing_frac: float,
    ) -> None:
        super().__init__(max_missing_frac)
        self._problem = ConstrainedProblem(method)
        self._spec = method.controller
        self._controller = make_controller(
            method.controller, self._problem.is_equality_K, dimension
        )
        self._scale = RunningScale(len(self._problem.names))
        self._search: ThresholdSearch | None = None
        self._metric = ""
        if method.threshold_search is not None:
            self._metric = method.threshold_search.metric
            self._search = ThresholdSearch(method.threshold_search, method.constraints, generations)
        self._wants_verdict = False
        self._shift_J: FloatArray | float = 0.0
        self._measured_J: FloatArray | None = None
        self._gaps_K: FloatArray | None = None
        self._generations = 0

    @property
    def measures_mean(self) -> bool:
        return self._spec.measure == "distribution_mean"

    @property
    def wants_verdict(self) -> bool:
        return self._wants_verdict

    def columns(self, scores: PopulationScores, vectors_N_D: FloatArray) -> FloatArray:
        distance = np.linalg.norm(vectors_N_D, axis=1) / np.sqrt(vectors_N_D.shape[1])
        shape = scores.rewards_N_P.shape
        parts = [
            np.broadcast_to(distance[:, None], shape) if name == DISTANCE
            else scores.components[name]
            for name in self._problem.names
        ]  # fmt: skip
        return self._problem.turned(np.stack(parts, axis=2))

    def observe(self, means_N_J: FloatArray, mean_J: FloatArray | None) -> None:
        self._scale.see(means_N_J)
        # Candidates are worse than the mean they surround, by the curvature of their rewards times
        # sigma squared. What is kept is the mean: it is its gaps that candidates are to close.
        shift_J = 0.0 if mean_J is None else mean_J - mean_of_known(means_N_J)
        self._shift_J = np.nan_to_num(shift_J)

    def fitness(self, means_N_J: FloatArray) -> FloatArray:
        z = self._scale.over(means_N_J - mean_of_known(means_N_J))
        return self._controller.fitness(z, self._gaps(means_N_J + self._shift_J))

    def probe(self, means_N_J: FloatArray) -> FloatArray:
        """Objective minus all violations, in the components' own units."""
        return means_N_J[:, 0] - self._problem.violations(means_N_J).sum(axis=1)

    def learn(self, means_N_J: FloatArray, mean_J: FloatArray | None) -> None:
        self._generations += 1
        found = mean_of_known(means_N_J) if mean_J is None else mean_J
        earlier_J, earlier_K = self._measured_J, self._gaps_K
        if earlier_J is None:
            self._measured_J = found
        else:
            # A generation in which nothing could be measured changes nothing.
            mixed = self._spec.ema * earlier_J + (1 - self._spec.ema) * found
            # What was never measured before begins now.
            kept = np.where(np.isfinite(earlier_J), earlier_J, found)
            self._measured_J = np.where(np.isfinite(mixed), mixed, kept)
        self._gaps_K = np.nan_to_num(self._gaps(self._measured_J))
        self._look_for_thresholds(means_N_J, self._measured_J)
        if self._generations <= self._spec.warmup_generations:
            return
        change = None
        if earlier_J is not None and earlier_K is not None:
            moved = self._scale.over(self._measured_J - earlier_J)[0]
            change = Change(float(moved), self._gaps_K, earlier_K)
        self._controller.update(self._gaps_K, change)

    def judge(self, scores: PopulationScores, vector: FloatArray) -> Verdict:
        intervals = self._intervals(scores, vector)
        means_J = np.array([interval.mean for interval in intervals])
        merit = self._problem.merit(self._problem.turned(means_J))
        held, statuses = len(merit) == 2, self._judged(intervals)
        if self._search is None:
            return Verdict(intervals[0], merit, held, statuses)
        # Thresholds move, so holding them says nothing of earlier vectors; the metric does.
        metric = bootstrap_interval(scores.components[self._metric][0])
        if self._wants_verdict:
            self._wants_verdict = False
            self._search.score(metric.mean)
            self._problem.set_thresholds(self._search.threshold_K)
        return Verdict(metric, (metric.mean,) if np.isfinite(metric.mean) else (), held, statuses)

    def judged(self, scores: PopulationScores, row: int, vector: FloatArray) -> Statuses:
        return self._judged(self._intervals(scores, vector, row))

    def status(self) -> Statuses:
        if self._measured_J is None:
            return ()
        values_J = self._problem.turned(self._measured_J)
        multipliers_K = self._controller.multipliers_K
        return tuple(
            self._status(index, float(values_J[index + 1]), None, float(multiplier))
            for index, multiplier in enumerate(multipliers_K)
        )

    def feasible_frac(self, means_N_J: FloatArray) -> float:
        """Share of candidates that hold every constraint."""
        return float(self._problem.is_held(means_N_J).all(axis=1).mean())

    def warning(self) -> str | None:
        exhausted = self._controller.is_exhausted_K
        if self._gaps_K is None or not (exhausted & (self._gaps_K > 0)).any():
            return None
        index = int(np.flatnonzero(exhausted & (self._gaps_K > 0))[0])
        one = self._problem.method.constraints[index]
        return (
            f"the multiplier of {one.component} {one.direction} "
            f"{self._problem.threshold_K[index]:g} is at its bound and "
            "the threshold is not reached: it may be out of reach beside the others. Change "
            f"method.constraints.{index}.threshold, or run longer"
        )

    def state(self) -> dict[str, Any]:
        return {
            "identity": self._identity(),
            "controller": self._controller.state(),
            "scale": self._scale.state(),
            "measured": None if self._measured_J is None else as_list(self._measured_J),
            "gaps": None if self._gaps_K is None else as_list(self._gaps_K),
            "generations": self._generations,
            "search": None if self._search is None else self._search.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        if not state:
            return
        if state["identity"] != self._identity():
            raise CheckpointIncompatibleError(
                f"the checkpoint belongs to {state['identity']}, the job has {self._identity()}; "
                "put `method` back as it was, or start a new run"
            )
        self._controller.restore(state["controller"])
        self._scale.restore(state["scale"])
        self._measured_J = None if state["measured"] is None else as_array(state["measured"])
        self._gaps_K = None if state["gaps"] is None else as_array(state["gaps"])
        self._generations = int(state["generations"])
        if self._search is not None:
            self._search.restore(state["search"])
            self._problem.set_thresholds(self._search.threshold_K)

    def _look_for_thresholds(self, means_N_J: FloatArray, measured_J: FloatArray) -> None:
        if self._search is not None:
            measured_K = self._problem.turned(measured_J)[1:]
            candidates_N_K = self._problem.turned(means_N_J)[:, 1:]
            self._wants_verdict = self._search.observe(measured_K, candidates_N_K)

    def _identity(self) -> str:
        """What a saved state must belong to."""
        return f"{self._spec.type} over {', '.join(self._problem.names)}"

    def _gaps(self, turned_J: FloatArray) -> FloatArray:
        """Threshold minus value in standard deviations; last axis K."""
        gaps = self._problem.thresholds_K - turned_J[..., 1:]
        return self._scale.over(np.concatenate([turned_J[..., :1], gaps], axis=-1))[..., 1:]

    def _intervals(
        self, scores: PopulationScores, vector: FloatArray, row: int = 0
    ) -> list[Interval]:
        """Of every column, in the component's own units and sign."""
        vectors = np.broadcast_to(vector, (len(scores.rewards_N_P), len(vector)))
        columns = self._problem.turned(self.columns(scores, vectors)[row])
        return [bootstrap_interval(column) for column in columns.T]

    def _judged(self, intervals: list[Interval]) -> Statuses:
        return tuple(
            self._status(index, one.mean, (one.low, one.high), None)
            for index, one in enumerate(intervals[1:])
        )

    def _status(
        self,
        index: int,
        value: float,
        ci95: tuple[float, float] | None,
        multiplier: float | None,
    ) -> ConstraintStatus:
        one = self._problem.method.constraints[index]
        missed = float(self._problem.violation_of(index, value))
        return ConstraintStatus(
            component=one.component,
            direction=one.direction,
            threshold=float(self._problem.threshold_K[index]),
            value=value,
            ci95=ci95,
            multiplier=multiplier,
            violation=missed,
            is_held=missed <= one.tolerance,
        )
