"""The weighted sum of components, each in units of its own spread over the population."""

from __future__ import annotations

from typing import Any

import numpy as np

from essa.constrained.scale import RunningScale
from essa.objective.fitness import mean_of_known
from essa.objective.objective import RewardObjective
from essa.spec.job import AlignmentJobSpec
from essa.types import FloatArray, PopulationScores
from reward.spec import CompositeSpec


def reward_objective(spec: AlignmentJobSpec) -> RewardObjective:
    """The objective of a job that maximises its reward, components normalised where it says so."""
    share, reward = spec.evaluation.max_missing_frac, spec.reward
    if isinstance(reward, CompositeSpec) and reward.normalize == "running":
        return NormalizedObjective({part.name: part.weight for part in reward.components}, share)
    return RewardObjective(share)


class NormalizedObjective(RewardObjective):
    """Ranks by sum_j weight_j z_j; probes and judges by the plain reward.

    Columns are the reward and its components, J = K + 1 of them.

    Args:
        weights: of the components, by name.
    """

    def __init__(self, weights: dict[str, float], max_missing_frac: float) -> None:
        super().__init__(max_missing_frac)
        self._names = tuple(weights)
        self._weights_J = np.array([0.0, *weights.values()])
        self._scale = RunningScale(len(weights) + 1)

    def columns(self, scores: PopulationScores, vectors_N_D: FloatArray) -> FloatArray:
        parts = [scores.rewards_N_P, *(scores.components[name] for name in self._names)]
        return np.stack(parts, axis=2)

    def observe(self, means_N_J: FloatArray, mean_J: FloatArray | None) -> None:
        self._scale.see(means_N_J)

    def fitness(self, means_N_J: FloatArray) -> FloatArray:
        return self._scale.over(means_N_J - mean_of_known(means_N_J)) @ self._weights_J

    def probe(self, means_N_J: FloatArray) -> FloatArray:
        return means_N_J[:, 0]

    def state(self) -> dict[str, Any]:
        return {"scale": self._scale.state()}

    def restore(self, state: dict[str, Any]) -> None:
        if state:
            self._scale.restore(state["scale"])
