"""An evaluator that counts what evaluations cost and records who did what."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from essa.coordinator.state import RunState
from essa.ports import Evaluator, Recorder
from essa.types import EvaluationKind, FloatArray, PopulationScores, Row, WorkSpan


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
        self._kind = kind
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
        self._state.tokens += scores.tokens
        self._state.samples += scores.samples
        self._recorder.work(self._kind, self._generation, shifted(scores.spans, began_s))
        return scores


def shifted(spans: Iterable[WorkSpan], began_s: float) -> tuple[WorkSpan, ...]:
    """Spans of an evaluation that began so long after the job, in seconds since the job's start."""
    return tuple(
        span._replace(started_s=began_s + span.started_s, ended_s=began_s + span.ended_s)
        for span in spans
    )
