"""What goes between the job's process and that of the trainer. Picklable."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from essa.parametrize.weights import Factors
from essa.spec.grpo import GrpoSpec


@dataclass(frozen=True)
class TrainerBuild:
    """What a trainer is made from.

    `steps` are rounds of rollouts, `save_every` those between two checkpoints, `threads` those of
    torch; 0 keeps its own setting.
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
        """Completions of one round."""
        return self.batch_size * self.method.group_size

    @property
    def mini_batch(self) -> int:
        """Completions of one update."""
        return self.method.mini_batch or self.completions

    @property
    def micro_batch(self) -> int:
        """Completions of one forward pass."""
        return min(self.method.micro_batch, self.mini_batch)

    @property
    def updates(self) -> int:
        """Updates of one round."""
        return self.completions // self.mini_batch * self.method.iterations


@dataclass(frozen=True)
class Experience:
    """One round of rollouts; G completions in a row belong to one prompt.

    Scores are None where missing; a completion may be empty, and is where its rollout failed.
    """

    prompt_ids: list[list[int]]
    completion_ids: list[list[int]]
    scores: list[float | None]


@dataclass(frozen=True)
class Report:
    """Where the trainer stands after `step` rounds."""

    step: int
    weights: dict[str, Factors]
    metrics: dict[str, float]
    train_s: float
    is_saved: bool
    peak_bytes: int
    """Most memory that its process has had so far."""
