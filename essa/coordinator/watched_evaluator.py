"""An evaluator that counts what evaluations cost and records who did what."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from essa.coordinator.state import RunState
from essa.ports import Evaluator, Recorder
from essa.types import EvaluationKind, FloatArray, PopulationScores, Row


class WatchedEvaluator(Evaluator):
    """Passes evaluations on; their tokens and samples go to the run's state.

    Args:
        evaluator: does the work.
        state: of the run.
        recorder: told which engine worked when.
        elapsed_s: seconds since the job's start.
        kind: what is evaluated.
        generation: None for the test.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        state: RunState,
        recorder: Recorder,
        elapsed_s: Callable[[], float],
        *,
        kind: EvaluationKind,
        generation: int | None,
    ) -> None:
        self._evaluator = evaluator
        self._state = state
        self._recorder = recorder
        self._elapsed_s = elapsed_s
        self._kind: EvaluationKind = kind
        self._generation = generation

    def evaluate(
        self,
        vectors_N_D: FloatArray,
        rows: Sequence[Row],
        *,
        with_base: bool = False,
        label: str = "",
    ) -> PopulationScores:
        began_s = self._elapsed_s()
        scores = self._evaluator.evaluate(vectors_N_D, rows, with_base=with_base, label=label)
        count(scores, began_s, self._state, self._recorder, self._kind, self._generation)
        return scores


def count(
    scores: PopulationScores,
    began_s: float,
    state: RunState,
    recorder: Recorder,
    kind: EvaluationKind,
    generation: int | None,
) -> None:
    """Add what an evaluation cost to the run's state, and record who did what.

    Args:
        began_s: when it began, in seconds since the job's start.
        kind: what was evaluated.
        generation: None for the test.
    """
    state.tokens += scores.tokens
    state.samples += scores.samples
    spans = tuple(
        span._replace(started_s=began_s + span.started_s, ended_s=began_s + span.ended_s)
        for span in scores.spans
    )
    recorder.work(kind, generation, spans)
