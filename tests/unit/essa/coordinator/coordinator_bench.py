"""A coordinator on a reward whose optimum is known, for several test files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from essa.coordinator.loop import Coordinator, Outcome
from essa.coordinator.run import Outlets, Run, Space, Start
from essa.coordinator.state import Preparation
from essa.data import JobData
from essa.errors import JobCancelledError
from essa.events import WarningEvent
from essa.objective.normalized import reward_objective
from essa.ports import Recorder
from essa.spec import AlignmentJobSpec
from essa.testing import FakeClock, QuadraticEvaluator, RecordingSink
from essa.types import Row

DIMENSION = 8
OPTIMUM = np.linspace(0.5, 1.5, DIMENSION)
DIGEST = "d" * 64
Spoil = Callable[[str, np.ndarray], np.ndarray]


def rows(first: int, count: int) -> tuple[Row, ...]:
    return tuple(Row(index, f"prompt {index}") for index in range(first, first + count))


DATA = JobData(train=rows(0, 100), validation=rows(1000, 20), test=rows(2000, 30))


def job(search: dict[str, Any] | None = None, **parts: Any) -> AlignmentJobSpec:
    plain = {
        "model": {"path": "somewhere"},
        "data": {"train": {"path": "train.jsonl"}},
        "reward": {"type": "sentiment"},
        "search": {"type": "sep_cma_es", "population": 8, "sigma_init": 0.4} | (search or {}),
        "batch_size": 12,
        "budget": {"generations": 6},
        "seed": 3,
    }
    return AlignmentJobSpec.model_validate(plain | parts)


class Bench:
    """Runs jobs on one checkpoint; the state of the last run stays visible."""

    def __init__(self, folder: Path) -> None:
        self.checkpoint = folder / "search.ckpt"
        self.sink = RecordingSink()
        self.clock = FakeClock()
        self.evaluator = QuadraticEvaluator(OPTIMUM)

    def run(
        self,
        spec: AlignmentJobSpec,
        *,
        data: JobData = DATA,
        digest: str = DIGEST,
        spoil: Spoil = lambda label, rewards: rewards,
        pair_noise: float = 0.3,
        before: Preparation = Preparation(),  # noqa: B008
        recorder: Recorder = Recorder(),  # noqa: B008
        devices: int = 1,
    ) -> Outcome:
        self.sink, self.clock = RecordingSink(), FakeClock()
        self.evaluator = QuadraticEvaluator(
            OPTIMUM, pair_noise=pair_noise, spoil=spoil, clock=self.clock
        )
        outlets = Outlets(self.sink, recorder, self.clock, devices)
        start = Start(self.checkpoint, before)
        run = Run(spec, reward_objective(spec), data, outlets, Space(DIMENSION, digest), start)
        return Coordinator(run, self.evaluator).run()

    def labels(self) -> list[str]:
        return [call.label for call in self.evaluator.calls]

    def warnings(self) -> dict[str, str]:
        return {event.code: event.message for event in self.sink.of(WarningEvent)}


def cancel_at(label_to_stop: str) -> Spoil:
    def spoil(label, rewards):
        if label == label_to_stop:
            raise JobCancelledError("enough")
        return rewards

    return spoil


def only(label_to_spoil: str, change: Callable[[np.ndarray], np.ndarray]) -> Spoil:
    return lambda label, rewards: change(rewards) if label == label_to_spoil else rewards
