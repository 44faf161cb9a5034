"""An evaluator that counts what evaluations cost and records who did what."""

from __future__ import annotations

from collections.abc import Sequence

from essa.coordinator.run import Run
from essa.ports import Evaluator
from essa.types import EvaluationKind, FloatArray, PopulationScores, Row


class WatchedEvaluator(Evaluator):
    """Passes evaluations on; their tokens and samples are counted by the run.

    Args:
        evaluator: does the work.
        kind: what is evaluated.
        generation: None for the test.
    """

    def __init__(
        self, evaluator: Evaluator, run: Run, kind: EvaluationKind, generation: int | None
    ) -> None:
        self._evaluator = evaluator
        self._run = run
        self._kind: EvaluationKind = kind
        self._generation = generation

    def evaluate(
        self,
        vectors_N_D: FloatArray,
        rows: Sequence[Row],
        *,
        groups: int = 1,
        with_base: bool = False,
        label: str = "",
    ) -> PopulationScores:
        began_s = self._run.elapsed_s
        scores = self._evaluator.evaluate(
            vectors_N_D, rows, groups=groups, with_base=with_base, label=label
        )
        self._run.count(scores, began_s, self._kind, self._generation)
        return scores
