"""What the coordinator needs from the outside world."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from essa.events import Event
from essa.types import (
    Completion,
    EvaluationKind,
    FloatArray,
    PopulationScores,
    Row,
    WorkSpan,
)


class Evaluator(ABC):
    """Scores populations of vectors."""

    @abstractmethod
    def evaluate(
        self,
        vectors_N_D: FloatArray,
        rows: Sequence[Row],
        *,
        groups: int = 1,
        with_base: bool = False,
        label: str = "",
    ) -> PopulationScores:
        """Score every vector on the rows of its group; with one group, on every row.

        Blocking. Deterministic for greedy decoding up to the engine's own batch effects.
        Inputs are not modified.

        Args:
            vectors_N_D: offsets from the warm start, shape (N, D); zeros are the warm start.
            rows: the batch, cut into the parts of the groups.
            groups: equal parts of vectors and rows, see `essa.groups`.
            with_base: put the model without any adapter first: the result then has N + 1 rows.
                Only with one group.
            label: what this evaluation is for, shown in progress.
        Returns:
            Scores in the order of the vectors.
        Raises:
            EvaluationError: no worker could evaluate; single failures are missing scores instead.
            JobCancelledError: the user cancelled while it ran.
        """


class EventSink(ABC):
    """Receives events in order. Must be quick; must not raise for a slow reader."""

    @abstractmethod
    def emit(self, event: Event) -> None:
        """Record one event."""


class Say(Protocol):
    """Shows what is being done to whoever watches a job. Quick; may leave out what comes often."""

    def __call__(
        self,
        text: str,
        done: int | None = None,
        total: int | None = None,
        eta_s: float | None = None,
    ) -> None:
        """Tell it; with `done` of `total` where it can be counted, and the seconds left."""


class Recorder:
    """Takes in what a run leaves behind for whoever looks at it; this one keeps nothing.

    Nothing here decides anything. Calls return at once, and a record that cannot be kept never ends
    a run. What is handed over must not be changed afterwards.
    """

    def begin(self, generation: int) -> None:
        """Start after this generation, -1 for the very start: later records are thrown away."""
        return None

    def vector(self, generation: int, vector: FloatArray) -> None:
        """Keep the mean after a generation; 0 is the warm start."""
        return None

    def rollouts(
        self,
        kind: EvaluationKind,
        generation: int | None,
        rows: Sequence[Row],
        scores: PopulationScores,
    ) -> None:
        """Keep the completions of an evaluation; `generation` is None for the test."""
        return None

    def work(
        self, kind: EvaluationKind, generation: int | None, spans: tuple[WorkSpan, ...]
    ) -> None:
        """Keep who did what in an evaluation, in seconds since the job's start."""
        return None

    def failure(self) -> str | None:
        """Why something could not be kept since the last call."""
        return None


class RunControl(ABC):
    """Tells a running job what the user wants of it."""

    @abstractmethod
    def is_cancelled(self) -> bool:
        """True once the user has asked to cancel. Cheap enough to poll a few times a second."""


@dataclass(frozen=True)
class RunSite:
    """Where a run happens and whom it tells: all about it that is not its specification.

    Attributes:
        run_dir: the run's own folder: checkpoint, adapter, records.
        cache_dir: folder of prepared models, shared by all runs.
        sink: receives the events, the result included.
        control: asked whether the user has cancelled.
        resolve_file: path of an uploaded file, by its id.
    """

    run_dir: Path
    cache_dir: Path
    sink: EventSink
    control: RunControl
    resolve_file: Callable[[str], Path]


class Clock(ABC):
    """Time, so that budgets can be tested without waiting."""

    @abstractmethod
    def now_s(self) -> float:
        """Seconds on a monotonic clock."""


class MonotonicClock(Clock):
    """The machine's clock."""

    def now_s(self) -> float:
        return time.monotonic()


@dataclass(frozen=True)
class GroupRollouts:
    """Groups of sampled completions with their scores: P prompts, G completions each.

    `rewards_P_G` is NaN where a score is missing; `completions[p][g]` are the answers.
    """

    rows: Sequence[Row]
    rewards_P_G: FloatArray
    completions: list[list[Completion]]
    scores: PopulationScores
    """The same, averaged over the samples of a prompt; one row."""
    components_P_G: Mapping[str, FloatArray] = field(default_factory=dict[str, FloatArray])
    """Of every completion, by name."""

    def by_sample(self) -> PopulationScores:
        """Every completion with its own scores, as a population of G: the n-th of every prompt."""
        samples = range(self.rewards_P_G.shape[1])
        return replace(
            self.scores,
            rewards_N_P=self.rewards_P_G.T,
            components={name: values.T for name, values in self.components_P_G.items()},
            completions=[
                # A prompt whose rollout failed has no answers.
                [group[n].text if n < len(group) else "" for group in self.completions]
                for n in samples
            ],
        )

    def best(self) -> PopulationScores:
        """The best completion of every prompt, as one candidate; of equals the first.

        A prompt without a single score stays missing.
        """
        known_P_G = np.where(np.isnan(self.rewards_P_G), -np.inf, self.rewards_P_G)
        best_P: list[int] = known_P_G.argmax(axis=1).tolist()
        prompts = np.arange(len(best_P))
        return replace(
            self.scores,
            rewards_N_P=self.rewards_P_G[prompts, best_P][None],
            components={
                name: values[prompts, best_P][None] for name, values in self.components_P_G.items()
            },
            completions=[
                [
                    group[n].text if n < len(group) else ""
                    for group, n in zip(self.completions, best_P, strict=True)
                ]
            ],
        )


class GroupSampler(ABC):
    """Samples groups of completions from one vector, and scores every completion."""

    @abstractmethod
    def sample(
        self,
        vector: FloatArray,
        rows: Sequence[Row],
        *,
        samples: int,
        temperature: float,
        seed: int,
    ) -> GroupRollouts:
        """Roll out.

        Args:
            vector: shape (D,).
            rows: P prompts.
            samples: G, completions of each prompt.
        Raises:
            EvaluationError: not one completion could be scored.
            JobCancelledError: the user cancelled while it ran.
        """


@dataclass(frozen=True)
class TrainerNews:
    """What a trainer hands over when it wants rollouts, or has made its last update."""

    generation: int
    """Steps done: the vector is the result of this one."""
    vector: FloatArray
    metrics: Mapping[str, float]
    """Of the updates of this step, by the field's names: loss, kl, grad_norm, entropy."""
    train_s: float
    """Seconds since it had its rollouts."""
    is_saved: bool
    """True where it can start again from here."""


class GradientTrainer(ABC):
    """Moves a vector by gradients; one step takes one batch of rollouts."""

    @abstractmethod
    def start(self, generation: int) -> TrainerNews:
        """Begin, or go on after a generation that was saved. Returns where it stands.

        Raises:
            TrainerError: it did not start.
        """

    @abstractmethod
    def step(self, rollouts: GroupRollouts) -> TrainerNews:
        """Learn from rollouts of its own vector.

        Raises:
            TrainerError: it failed.
            JobCancelledError: the user cancelled while it ran.
        """
