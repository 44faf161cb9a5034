"""Messages between the job's process and the trainer's. All are picklable."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from essa.parametrize.weights import Factors
from essa.spec.grpo import GrpoSpec


@dataclass(frozen=True)
class TrainerBuild:
    """Inputs from which a trainer is built.

    `steps` is the number of rounds of rollouts, `save_every` the number of rounds between two
    checkpoints, `threads` the number of torch's threads (0 keeps torch's default).
    """

    model_folder: Path
    adapter_folder: Path
    checkpoints: Path
    method: GrpoSpec
    batch_size: int
    steps: int
    save_every: int
    longest_tokens: int
    max_tokens: int
    seed: int
    threads: int

    @property
    def completions(self) -> int:
        """Number of completions in one round."""
        return self.batch_size * self.method.group_size

    @property
    def mini_batch(self) -> int:
        """Number of completions in one update."""
        return self.method.mini_batch or self.completions

    @property
    def micro_batch(self) -> int:
        """Number of completions in one forward pass."""
        return min(self.method.micro_batch, self.mini_batch)

    @property
    def updates(self) -> int:
        """Number of updates in one round."""
        return self.completions // self.mini_batch * self.method.iterations


@dataclass(frozen=True)
class Experience:
    """One round of rollouts; every G consecutive completions belong to one prompt.

    Missing scores are None. A completion may be empty, and always is if its rollout failed.
    """

    prompt_ids: list[list[int]]
    completion_ids: list[list[int]]
    scores: list[float | None]


@dataclass(frozen=True)
class Report:
    """State of the trainer after `step` rounds."""

    step: int
    weights: dict[str, Factors]
    metrics: dict[str, float]
    train_s: float
    is_saved: bool
    peak_bytes: int
    """Peak memory of the trainer's process so far."""
