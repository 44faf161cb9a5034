"""Implementations of the ports for tests: deterministic, quick, without engines or waiting."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from pydantic import BaseModel

from essa.events import Event, ResultEvent
from essa.groups import check_groups
from essa.ports import Clock, Evaluator, EventSink
from essa.types import FloatArray, PopulationScores, Row, WorkSpan

Kind = TypeVar("Kind", bound=BaseModel)

PROMPT_TOKENS, ANSWER_TOKENS = 10, 4
"""Tokens of every prompt and of every answer of `QuadraticEvaluator`."""
_NOISE_FREQUENCY = 1e3
"""High enough that neighbouring vectors meet unrelated noise, as in greedy decoding."""


class FakeClock(Clock):
    """Stands still until it is moved."""

    def __init__(self, now_s: float = 100.0) -> None:
        self._now_s = now_s

    def now_s(self) -> float:
        return self._now_s

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._now_s += seconds


class RecordingSink(EventSink):
    """Keeps all events."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def emit(self, event: Event) -> None:
        self.events.append(event)

    def of(self, kind: type[Kind]) -> list[Kind]:
        """Events of one class, in order."""
        return [event for event in self.events if isinstance(event, kind)]


def _parts(
    vectors_N_D: FloatArray, rows: Sequence[Row], groups: int
) -> Iterator[tuple[FloatArray, Sequence[Row]]]:
    """The vectors and rows of every group."""
    size = len(rows) // groups
    for group, vectors in enumerate(np.split(vectors_N_D, groups)):
        yield vectors, rows[group * size : (group + 1) * size]


@dataclass(frozen=True)
class EvaluationCall:
    """One call of `QuadraticEvaluator.evaluate`."""

    label: str
    vectors_N_D: FloatArray
    rows: tuple[Row, ...]
    with_base: bool


class QuadraticEvaluator(Evaluator):
    """Reward 1 - |v - optimum|^2 / D, plus the ease of the prompt, plus noise per pair.

    Rewards depend on the vector and the row's index alone.

    Args:
        optimum: best vector, shape (D,).
        prompt_noise: spread of how easy prompts are; the same for all candidates.
        pair_noise: amplitude of the noise that a candidate meets on a prompt; it changes
            completely with the smallest change of the vector.
        base_reward: of the model without adapter, before the prompt's ease.
        spoil: (label, rewards) -> the rewards to answer instead, to take scores away or change
            them. It may raise.
        clock: moved on by `seconds` with every call, half of it rollouts and half reward.
    """

    def __init__(
        self,
        optimum: FloatArray,
        *,
        prompt_noise: float = 0.2,
        pair_noise: float = 0.0,
        base_reward: float = 0.0,
        spoil: Callable[[str, FloatArray], FloatArray] = lambda label, rewards_N_P: rewards_N_P,
        clock: FakeClock | None = None,
        seconds: float = 2.0,
    ) -> None:
        self._optimum = np.asarray(optimum, dtype=np.float64)
        self._prompt_noise = prompt_noise
        self._pair_noise = pair_noise
        self._base_reward = base_reward
        self._spoil = spoil
        self._clock = clock
        self._seconds = seconds
        self.calls: list[EvaluationCall] = []

    def evaluate(
        self,
        vectors_N_D: FloatArray,
        rows: Sequence[Row],
        *,
        groups: int = 1,
        with_base: bool = False,
        label: str = "",
    ) -> PopulationScores:
        check_groups(groups, len(vectors_N_D), len(rows))
        self.calls.append(EvaluationCall(label, vectors_N_D.copy(), tuple(rows), with_base))
        if self._clock is not None:
            self._clock.advance(self._seconds)
        parts = list(_parts(vectors_N_D, rows, groups))
        rewards = np.concatenate(
            [
                np.stack([self._rewards(vectors, row.index) for row in part], axis=1)
                for vectors, part in parts
            ]
        )
        asked = [part for vectors, part in parts for _ in vectors]
        if with_base:
            base = [self._base_reward + self._ease(row.index) for row in rows]
            rewards, asked = np.vstack([base, rewards]), [rows, *asked]
        rewards = self._spoil(label, rewards)
        missing = int(np.isnan(rewards).sum())
        pairs = rewards.size
        return PopulationScores(
            rewards_N_P=rewards,
            components={"doubled": 2 * rewards},
            completions=[
                [f"answer {n} to {row.index}" for row in own] for n, own in enumerate(asked)
            ],
            prompt_tokens=PROMPT_TOKENS * pairs,
            generated_tokens=ANSWER_TOKENS * pairs,
            rollout_s=self._seconds / 2,
            reward_s=self._seconds / 2,
            failures={"spoilt on purpose": missing} if missing else {},
            samples=pairs,
            spans=self._spans(len(rewards), rewards.shape[1], with_base),
            groups=groups,
        )

    def _rewards(self, vectors_N_D: FloatArray, index: int) -> FloatArray:
        """Of every vector on one prompt, shape (N,); free of the batch's size and order."""
        distance = ((vectors_N_D - self._optimum) ** 2).mean(axis=1)
        weights = np.random.default_rng([index, 1]).standard_normal(len(self._optimum))
        phase = _NOISE_FREQUENCY * (vectors_N_D * weights).sum(axis=1) + index
        return 1 - distance + self._ease(index) + self._pair_noise * np.sin(phase)

    def _spans(self, count: int, prompts: int, with_base: bool) -> tuple[WorkSpan, ...]:
        """One item a model, on two engines in turn, while rollouts last."""
        return tuple(
            WorkSpan(
                engine=row % 2,
                started_s=0.0,
                ended_s=self._seconds / 2,
                candidates=(row - with_base,) if row >= with_base else (),
                tokens=ANSWER_TOKENS * prompts,
            )
            for row in range(count)
        )

    def _ease(self, index: int) -> float:
        return self._prompt_noise * float(np.random.default_rng([index, 2]).standard_normal())


def bare_result() -> ResultEvent:
    """The end of a run of one generation that scored nothing."""
    return ResultEvent(
        test={},
        validation=None,
        selected_generation=1,
        generations=1,
        stop_reason="generations",
        seconds=1.0,
        tokens=1,
        adapter="adapter",
        samples=[],
    )
