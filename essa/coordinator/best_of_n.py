"""Judge a warm start by the best of N sampled answers: what choosing is worth without training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from essa.coordinator.examiner import Examiner
from essa.coordinator.loop import Outcome
from essa.coordinator.state import Preparation, RunState
from essa.data import JobData
from essa.objective.build import make_objective
from essa.ports import (
    Clock,
    Evaluator,
    EventSink,
    GroupSampler,
    MonotonicClock,
    Recorder,
)
from essa.spec.best_of_n import BestOfNMethod
from essa.spec.job import AlignmentJobSpec
from essa.types import FloatArray, PopulationScores, Row, joined_scores


class BestOfN(Evaluator):
    """Scores the last vector by its best sampled answers, and those before it as they decode.

    Args:
        evaluator: of vectors as they decode.
        sampler: of groups of answers.
        seed: of the sampling.
    """

    def __init__(
        self, evaluator: Evaluator, sampler: GroupSampler, method: BestOfNMethod, seed: int
    ) -> None:
        self._evaluator = evaluator
        self._sampler = sampler
        self._method = method
        self._seed = seed

    def evaluate(
        self,
        vectors_N_D: FloatArray,
        rows: Sequence[Row],
        *,
        with_base: bool = False,
        label: str = "",
    ) -> PopulationScores:
        before, last = vectors_N_D[:-1], vectors_N_D[-1]
        parts: list[PopulationScores] = []
        if with_base or len(before):
            parts.append(self._evaluator.evaluate(before, rows, with_base=with_base, label=label))
        groups = self._sampler.sample(
            last,
            rows,
            samples=self._method.samples,
            temperature=self._method.temperature,
            seed=self._seed,
        )
        return joined_scores([*parts, groups.best()])


class BestOfNCoordinator:
    """Validates and tests, with nothing between: there is no state that a resume would need.

    Args:
        spec: its method is `best_of_n`.
        evaluator: a `BestOfN`.
        dimension: D.
        digest: identity of what vectors stand on.
        before: what the job has used so far.
        recorder: takes what is only looked at.
        devices: GPUs, or cores where there are none, that the engines hold.
    """

    def __init__(
        self,
        spec: AlignmentJobSpec,
        data: JobData,
        evaluator: BestOfN,
        sink: EventSink,
        *,
        dimension: int,
        digest: str,
        clock: Clock | None = None,
        before: Preparation | None = None,
        recorder: Recorder | None = None,
        devices: int = 1,
    ) -> None:
        assert isinstance(spec.method, BestOfNMethod)
        self._vector = np.zeros(dimension)
        self._recorder = recorder or Recorder()
        used = before or Preparation()
        state = RunState.begin(digest, dimension, used)
        state.stop_reason = f"method.type {spec.method.type} searches nothing"
        self._examiner = Examiner(
            spec, data, evaluator, sink, objective=make_objective(spec, dimension),
            state=state, recorder=self._recorder, clock=clock or MonotonicClock(),
            devices=devices,
        )  # fmt: skip

    def run(self) -> Outcome:
        """Score the validation set, then the test set, each once.

        Raises:
            JobCancelledError: the user cancelled.
            EvaluationError: not one answer could be scored.
        """
        self._recorder.begin(-1)
        self._recorder.vector(0, self._vector)
        self._examiner.validate(self._vector)
        return Outcome(self._vector, self._examiner.test(self._vector))
