"""A gradient method on a reward whose optimum is known, for tests of its loop."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from essa.coordinator.gradient_loop import GradientCoordinator
from essa.coordinator.loop import Outcome
from essa.coordinator.run import Outlets, Run, Space, Start
from essa.coordinator.state import Preparation
from essa.data import JobData
from essa.errors import JobCancelledError
from essa.objective.normalized import reward_objective
from essa.ports import GradientTrainer, GroupRollouts, GroupSampler, Recorder, TrainerNews
from essa.spec import AlignmentJobSpec
from essa.spec.grpo import GrpoSpec
from essa.testing import ANSWER_TOKENS, FakeClock, QuadraticEvaluator, RecordingSink
from essa.types import Completion, FloatArray, PopulationScores, Row, WorkSpan
from tests.narrowing import of_kind
from tests.unit.essa.coordinator.coordinator_bench import (
    DATA,
    DIGEST,
    DIMENSION,
    OPTIMUM,
    Bench,
    Spoil,
)

SPREAD = 0.1
"""Of the vectors that answers are sampled from, around the trained one."""
TRAIN_S = 3.0


def grpo_job(**parts: Any) -> AlignmentJobSpec:
    plain = {
        "model": {"path": "somewhere"},
        "data": {"train": {"path": "train.jsonl"}},
        "reward": {"type": "sentiment"},
        "method": {"type": "grpo", "group_size": 8, "micro_batch": 8},
        "batch_size": 12,
        "budget": {"generations": 6},
        "seed": 3,
    }
    return AlignmentJobSpec.model_validate(plain | parts)


def draw(seed: int, place: int) -> FloatArray:
    """The draw behind an answer, which its token ids name."""
    return np.random.default_rng([seed, place]).standard_normal(DIMENSION)


def known_mean(values: FloatArray, axis: int) -> FloatArray:
    """The mean of what is there; NaN where nothing is."""
    known = np.isfinite(values)
    count = known.sum(axis=axis)
    total = np.where(known, values, 0).sum(axis=axis)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


class QuadraticSampler(GroupSampler):
    """Answers are draws around the vector; their token ids say which."""

    def __init__(self, evaluator: QuadraticEvaluator, lose: Callable[[FloatArray], None]) -> None:
        self._evaluator = evaluator
        self._lose = lose
        self.calls: list[dict[str, Any]] = []

    def sample(
        self,
        vector: FloatArray,
        rows: Any,
        *,
        samples: int,
        temperature: float,
        seed: int,
    ) -> GroupRollouts:
        self.calls.append({"seed": seed, "temperature": temperature, "rows": rows})
        places = np.arange(len(rows) * samples).reshape(len(rows), samples)
        draws = vector + SPREAD * np.array([[draw(seed, n) for n in group] for group in places])
        scored = [
            self._evaluator.evaluate(group, [row], label="rollouts")
            for row, group in zip(rows, draws, strict=True)
        ]
        rewards_P_G = np.stack([one.rewards_N_P[:, 0] for one in scored])
        self._lose(rewards_P_G)
        means = known_mean(rewards_P_G, 1)[None, :]
        missing = int(np.isnan(rewards_P_G).sum())
        pairs = rewards_P_G.size
        return GroupRollouts(
            rows,
            rewards_P_G,
            [
                [Completion(f"answer {n}", (seed, int(n)), "stop") for n in group]
                for group in places
            ],
            PopulationScores(
                rewards_N_P=means,
                components={"doubled": 2 * means},
                completions=[["first"] * len(rows)],
                prompt_tokens=len(rows),
                generated_tokens=ANSWER_TOKENS * pairs,
                rollout_s=1.0,
                reward_s=0.5,
                failures={"spoilt on purpose": missing} if missing else {},
                samples=pairs,
                spans=(WorkSpan(1, 0.25, 1.0, (0,), ANSWER_TOKENS * pairs),),
            ),
            {"doubled": 2 * rewards_P_G},
        )


class ScoreFunctionTrainer(GradientTrainer):
    """Climbs by the score-function gradient of group-relative advantages, and can start again.

    Args:
        folder: of its checkpoints, one file a step that is due.
        every: steps between two of them.
        steps: of the whole job; the last is always kept.
    """

    def __init__(
        self, folder: Path, clock: FakeClock, *, every: int, steps: int, rate: float = 0.3
    ) -> None:
        self._folder, self._clock = folder, clock
        self._every, self._steps, self._rate = every, steps, rate
        self._vector = np.zeros(DIMENSION)
        self._step = 0
        self.rollouts: list[GroupRollouts] = []
        self.started: list[int] = []

    def start(self, generation: int) -> TrainerNews:
        self.started.append(generation)
        self._step = generation
        if generation:
            self._vector = np.load(self._path(generation))
        return TrainerNews(generation, self._vector.copy(), {}, 0.0, False)

    def step(self, rollouts: GroupRollouts) -> TrainerNews:
        self._clock.advance(TRAIN_S)
        self.rollouts.append(rollouts)
        advantages = rollouts.rewards_P_G - known_mean(rollouts.rewards_P_G, 1)[:, None]
        draws = np.array(
            [[draw(*answer.token_ids) for answer in group] for group in rollouts.completions]
        )
        gradient = np.nanmean(advantages[..., None] * draws, axis=(0, 1)) / SPREAD
        self._vector = self._vector + self._rate * DIMENSION * gradient
        self._step += 1
        is_saved = self._step % self._every == 0 or self._step == self._steps
        if is_saved:
            np.save(self._path(self._step), self._vector)
        metrics = {
            "loss": float(-np.nanmean(advantages)),
            "grad_norm": float(np.abs(gradient).max()),
        }
        return TrainerNews(self._step, self._vector.copy(), metrics, TRAIN_S, is_saved)

    def _path(self, step: int) -> Path:
        return self._folder / f"{step}.npy"


class GradientBench(Bench):
    """The same for jobs of a gradient method."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def run(
        self,
        spec: AlignmentJobSpec,
        *,
        data: JobData = DATA,
        digest: str = DIGEST,
        spoil: Spoil = lambda label, rewards: rewards,
        pair_noise: float = 0.0,
        lose: Callable[[FloatArray], None] = lambda rewards: None,
        rate: float = 0.3,
        before: Preparation = Preparation(),  # noqa: B008
        recorder: Recorder = Recorder(),  # noqa: B008
        devices: int = 1,
    ) -> Outcome:
        self.sink, self.clock = RecordingSink(), FakeClock()
        # Nothing here depends on the clock but by what moves it: validation and training.
        self.evaluator = QuadraticEvaluator(
            OPTIMUM, pair_noise=pair_noise, spoil=spoil, clock=self.clock, seconds=0.5
        )
        self.sampler = QuadraticSampler(self.evaluator, lose)
        self.trainer = ScoreFunctionTrainer(
            self.folder,
            self.clock,
            every=spec.evaluation.every,
            steps=spec.budget.generations,
            rate=rate,
        )
        outlets = Outlets(self.sink, recorder, self.clock, devices)
        start = Start(self.checkpoint, before)
        run = Run(spec, reward_objective(spec), data, outlets, Space(DIMENSION, digest), start)
        method = of_kind(GrpoSpec, spec.method)
        return GradientCoordinator(run, method, self.evaluator, self.sampler, self.trainer).run()


def cancel_after(rollouts: int) -> Callable[[FloatArray], None]:
    """Cancel in the round of rollouts after so many."""
    left = [rollouts]

    def lose(rewards: FloatArray) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise JobCancelledError("enough")

    return lose


def prompts(found: list[Row]) -> list[int]:
    return [row.index for row in found]
