"""Judge a warm start by the best of N sampled answers: what choosing is worth without training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from essa.coordinator.examiner import Examiner
from essa.coordinator.loop import Outcome
from essa.coordinator.run import Run
from essa.ports import Evaluator, GroupSampler
from essa.spec.best_of_n import BestOfNSpec
from essa.types import FloatArray, PopulationScores, Row, joined_scores


class BestOfN(Evaluator):
    """Scores the last vector by its best sampled answers, and those before it as they decode.

    Args:
        evaluator: of vectors as they decode.
        sampler: of groups of answers.
        seed: of the sampling.
    """

    def __init__(
        self, evaluator: Evaluator, sampler: GroupSampler, method: BestOfNSpec, seed: int
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
        groups: int = 1,
        with_base: bool = False,
        label: str = "",
    ) -> PopulationScores:
        assert groups == 1, "nothing is searched"
        before, last = vectors_N_D[:-1], vectors_N_D[-1]
        parts: list[PopulationScores] = []
        if with_base or len(before):
            parts.append(self._evaluator.evaluate(before, rows, with_base=with_base, label=label))
        sampled = self._sampler.sample(
            last,
            rows,
            samples=self._method.samples,
            temperature=self._method.temperature,
            seed=self._seed,
        )
        return joined_scores([*parts, sampled.best()])


class BestOfNCoordinator:
    """Validates and tests, with nothing between: there is no state that a resume would need.

    Args:
        run: of method `best_of_n`.
        evaluator: a `BestOfN`.
    """

    def __init__(self, run: Run, evaluator: BestOfN) -> None:
        run.state.stop_reason = f"method.type {run.spec.method.type} searches nothing"
        self._run = run
        self._examiner = Examiner(run, evaluator)

    def run(self) -> Outcome:
        """Score the validation set, then the test set, each once.

        Raises:
            JobCancelledError: the user cancelled.
            EvaluationError: not one answer could be scored.
        """
        run, vector = self._run, np.zeros(self._run.space.dimension)
        run.recorder.begin(-1)
        run.recorder.vector(0, vector)
        self._examiner.validate(vector)
        return Outcome(vector, self._examiner.test(vector))
