"""What every method of alignment does alike: judge vectors, and know the end."""

from __future__ import annotations

import numpy as np

from essa.coordinator import run_events
from essa.coordinator.run import Run
from essa.coordinator.stopping import stop_reason
from essa.coordinator.watched_evaluator import WatchedEvaluator
from essa.events import ResultEvent, StageEvent
from essa.objective.objective import Verdict
from essa.ports import Evaluator
from essa.types import EvaluationKind, FloatArray, describe_failures


class Examiner:
    """Scores vectors on the validation and the test set, and keeps the run's state up to date.

    Args:
        run: its best vector and its reason to stop are written here.
        evaluator: scores vectors.
    """

    def __init__(self, run: Run, evaluator: Evaluator) -> None:
        self._run = run
        self._evaluator = evaluator

    def watched(self, kind: EvaluationKind, generation: int | None) -> Evaluator:
        """The evaluator, its costs counted and its work recorded."""
        return WatchedEvaluator(self._evaluator, self._run, kind, generation)

    def is_due(self, generation: int) -> bool:
        """Whether this generation is judged on the validation set."""
        spec = self._run.spec
        return generation % spec.evaluation.every == 0 or generation == spec.budget.generations

    def validate(self, vector: FloatArray) -> Verdict | None:
        """Judge a vector on the validation set; remember it if it is the best so far.

        None, with a warning, where no prompt could be scored.
        """
        run, state = self._run, self._run.state
        number, rows = state.generation, run.data.validation
        watched = self.watched("validation", number)
        scores = watched.evaluate(vector[None, :], rows, label="validation")
        run.recorder.rollouts("validation", number, rows, scores)
        verdict = run.objective.judge(scores, vector)
        if not verdict.merit:
            run.warn(
                "no_validation_score",
                "no validation prompt could be scored. Failures: "
                + describe_failures(scores.failures),
            )
            return None
        mean, low, high = verdict.score
        is_best = verdict.merit > state.best_merit
        if is_best:
            state.best_score, state.best_ci95 = mean, (low, high)
            state.best_merit = verdict.merit
            state.best_vector = vector.copy()
            state.best_generation = number
        elapsed_s = run.elapsed_s
        run.sink.emit(
            run_events.validation_event(
                state, verdict, scores, is_best, elapsed_s, elapsed_s * run.devices
            )
        )
        return verdict

    def decide(self, verdict: Verdict | None) -> None:
        """Set the state's reason to stop, if there is one by now."""
        state = self._run.state
        state.elapsed_s = self._run.elapsed_s
        # A target reached by breaking a constraint is not reached.
        score = verdict.score.mean if verdict is not None and verdict.is_feasible else None
        state.stop_reason = stop_reason(self._run.spec.budget, state, score)

    def test(self, vector: FloatArray) -> ResultEvent:
        """Score base, warm start and this vector on the test set, once."""
        run = self._run
        run.sink.emit(StageEvent(stage="test", message="scoring the test set"))
        vectors = np.stack([np.zeros_like(vector), vector])
        watched = self.watched("test", None)
        scores = watched.evaluate(vectors, run.data.test, with_base=True, label="test")
        run.recorder.rollouts("test", None, run.data.test, scores)
        run.state.elapsed_s = run.elapsed_s
        return run_events.result_event(
            run.state, run.objective, run.data, scores, run.spec.evaluation.samples
        )
