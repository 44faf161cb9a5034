"""A tiny model and rounds of made-up rollouts for TRL, for several test files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from essa.parametrize.adapter import LoraAdapter, write_adapter
from essa.spec.grpo import GrpoSpec
from workers.methods.trl.messages import Experience, Report, TrainerBuild

PROMPTS, GROUP, TOKENS = 2, 4, 5
LETTERS = range(3, 55)
"""Token ids of the tiny models' letters."""
Score = Callable[[list[int]], float | None]


def make_build(
    folder: Path, model: Path, adapter: LoraAdapter, *, steps: int = 2, **method: Any
) -> TrainerBuild:
    """Plain settings: float32, one update a step."""
    start = folder / "warm_start"
    write_adapter(adapter, start)
    plain = {"group_size": GROUP, "learning_rate": 1e-2, "precision": "fp32", "micro_batch": 4}
    return TrainerBuild(
        model_folder=model,
        adapter_folder=start,
        checkpoints=folder / "trainer",
        method=GrpoSpec(**(plain | method)),
        batch_size=PROMPTS,
        steps=steps,
        save_every=2,
        longest_tokens=16,
        max_tokens=TOKENS,
        seed=1,
        threads=1,
    )


def experience(seed: int, score: Score, often: int | None = None) -> Experience:
    """Random answers of different lengths, scored one by one.

    Args:
        often: a token that every second one is.
    """
    rng = np.random.default_rng(seed)
    made = Experience([], [], [])
    for _ in range(PROMPTS):
        prompt = rng.choice(LETTERS, size=rng.integers(3, 8)).tolist()
        for _ in range(GROUP):
            answer = rng.choice(LETTERS, size=rng.integers(2, TOKENS + 1)).tolist()
            if often is not None:
                answer = [often if rng.random() < 0.5 else token for token in answer]
            made.prompt_ids.append(prompt)
            made.completion_ids.append(answer)
            made.scores.append(score(answer))
    return made


def share_of(wanted: Sequence[int]) -> Score:
    """Share of an answer's tokens that are among these."""
    return lambda answer: sum(token in wanted for token in answer) / len(answer)


def train(build: TrainerBuild, rounds: Sequence[Experience], start: int = 0) -> list[Report]:
    """Train on these rounds; the report of the start comes first."""
    from workers.methods.trl.trl_run import TrlRun

    run = TrlRun(build, start)
    return [run.start(), *(run.exchange(one) for one in rounds)]


def flat(report: Report) -> np.ndarray:
    """All weights in a row."""
    return np.concatenate([one.ravel() for factors in report.weights.values() for one in factors])
