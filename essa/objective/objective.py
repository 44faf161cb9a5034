"""What a search maximises: one fitness per candidate, and an order among mean vectors.

A batch of rollouts gives columns, shape (N, P, J): J numbers for every candidate and prompt. Their
means over prompts, shape (N, J), are what fitness is made of.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np

from essa.events import ConstraintStatus
from essa.objective.fitness import Interval, bootstrap_interval, candidate_means
from essa.types import FloatArray, PopulationScores

Statuses = tuple[ConstraintStatus, ...]


@dataclass(frozen=True)
class Verdict:
    """A mean vector judged on the validation set.

    `merit` orders vectors, larger is better; it is empty where there is no score. `score` is what
    budgets and curves speak of.
    """

    score: Interval
    merit: tuple[float, ...]
    is_feasible: bool = True
    constraints: Statuses = ()


class Objective(ABC):
    """Decides what is better. Holds state where that changes as the search goes on.

    Args:
        max_missing_frac: a candidate with a larger share of missing scores is missing as a whole.
    """

    def __init__(self, max_missing_frac: float) -> None:
        self.max_missing_frac = max_missing_frac

    @property
    def measures_mean(self) -> bool:
        """Whether `learn` wants the distribution's mean rolled out beside its candidates."""
        return False

    @abstractmethod
    def columns(self, scores: PopulationScores, vectors_N_D: FloatArray) -> FloatArray:
        """What every candidate reached on every prompt, shape (N, P, J); NaN where missing."""

    def observe(self, means_N_J: FloatArray, mean_J: FloatArray | None) -> None:
        """Take in what a generation reached. Called once, before `fitness`.

        Args:
            mean_J: of the distribution's own mean, where that was asked for.
        """
        return None

    @abstractmethod
    def fitness(self, means_N_J: FloatArray) -> FloatArray:
        """Fitness to maximise within one generation, shape (N,). Changes nothing."""

    def probe(self, means_N_J: FloatArray) -> FloatArray:
        """A fitness that can be compared between generations; for the ladder. Shape (N,)."""
        return self.fitness(means_N_J)

    def learn(self, means_N_J: FloatArray, mean_J: FloatArray | None) -> None:
        """Learn from a generation. Called once, after the search has moved.

        Args:
            means_N_J: what its candidates reached.
            mean_J: what the mean they were drawn around reached, where that was asked for.
        """
        return None

    @property
    def wants_verdict(self) -> bool:
        """Whether the mean must be judged on the validation set in this generation."""
        return False

    @abstractmethod
    def judge(self, scores: PopulationScores, vector: FloatArray) -> Verdict:
        """Judge one mean vector by its scores, the first row of `scores`."""

    def judged(self, scores: PopulationScores, row: int, vector: FloatArray) -> Statuses:
        """The constraints under one model's scores; empty where there are none."""
        return ()

    def status(self) -> Statuses:
        """Where the constraints stand in the search; empty where there are none."""
        return ()

    def feasible_frac(self, means_N_J: FloatArray) -> float | None:
        """Share of candidates that hold every constraint; None where there are none."""
        return None

    def warning(self) -> str | None:
        """What the user should know of the state; told once."""
        return None

    def state(self) -> dict[str, Any]:
        """What a checkpoint must keep. JSON-able."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Take back what `state` gave."""
        return None

    def means(self, columns_N_P_J: FloatArray, groups: int = 1) -> FloatArray:
        """Means over prompts, shape (N, J); NaN for a candidate with too many missing scores.

        Args:
            groups: of candidates with prompts of their own. How hard those are is taken out: every
                group gets the mean of all.
        """
        return candidate_means(columns_N_P_J, self.max_missing_frac, groups)


class RewardObjective(Objective):
    """The mean reward."""

    def columns(self, scores: PopulationScores, vectors_N_D: FloatArray) -> FloatArray:
        return scores.rewards_N_P[:, :, None]

    def fitness(self, means_N_J: FloatArray) -> FloatArray:
        return means_N_J[:, 0]

    def judge(self, scores: PopulationScores, vector: FloatArray) -> Verdict:
        interval = bootstrap_interval(scores.rewards_N_P[0])
        return Verdict(interval, (interval.mean,) if np.isfinite(interval.mean) else ())
