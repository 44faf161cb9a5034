"""What every method of alignment does alike: judge vectors, count what was used, know the end."""

from __future__ import annotations

import numpy as np

from essa.coordinator import report
from essa.coordinator.state import RunState
from essa.coordinator.stopping import stop_reason
from essa.coordinator.watched_evaluator import WatchedEvaluator
from essa.data import JobData
from essa.events import ResultEvent, StageEvent, WarningEvent
from essa.objective.objective import Objective, Verdict
from essa.ports import Clock, Evaluator, EventSink, Recorder
from essa.spec.job import AlignmentJobSpec
from essa.types import EvaluationKind, FloatArray, PopulationScores, describe_failures


class Examiner:
    """Scores vectors on the validation and the test set, and keeps the run's state up to date.

    Args:
        state: of the run; its best vector, tokens, samples and seconds are written here.
        evaluator: scores vectors.
        recorder: takes what is only looked at.
        devices: GPUs, or cores where there are none, that the job holds.
    """

    def __init__(
        self,
        spec: AlignmentJobSpec,
        data: JobData,
        evaluator: Evaluator,
        sink: EventSink,
        *,
        objective: Objective,
        state: RunState,
        recorder: Recorder,
        clock: Clock,
        devices: int,
    ) -> None:
        self._spec = spec
        self._data = data
        self._evaluator = evaluator
        self._sink = sink
        self._objective = objective
        self._state = state
        self._recorder = recorder
        self._clock = clock
        self._devices = devices
        self._started_s = clock.now_s() - state.elapsed_s
        self._told: set[str] = set()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the job's start, pauses left out."""
        return self._clock.now_s() - self._started_s

    @property
    def device_s(self) -> float:
        """Seconds up to the last decision, times the devices held."""
        return self._state.elapsed_s * self._devices

    def watched(self, kind: EvaluationKind, generation: int | None) -> Evaluator:
        """The evaluator, its costs counted and its work recorded."""
        return WatchedEvaluator(
            self._evaluator, self._state, self._recorder, lambda: self.elapsed_s,
            kind=kind, generation=generation,
        )  # fmt: skip

    def is_due(self, generation: int) -> bool:
        """Whether this generation is judged on the validation set."""
        budget = self._spec.budget
        return generation % self._spec.evaluation.every == 0 or generation == budget.generations

    def validate(self, vector: FloatArray) -> Verdict | None:
        """Judge a vector on the validation set; remember it if it is the best so far.

        None, with a warning, where no prompt could be scored.
        """
        state = self._state
        number, rows = state.generation, self._data.validation
        watched = self.watched("validation", number)
        scores = watched.evaluate(vector[None, :], rows, label="validation")
        self._recorder.rollouts("validation", number, rows, scores)
        verdict = self._objective.judge(scores, vector)
        if not verdict.merit:
            self.warn(
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
        elapsed_s = self.elapsed_s
        self._sink.emit(
            report.validation_event(
                state, verdict, scores, is_best, elapsed_s, elapsed_s * self._devices
            )
        )
        return verdict

    def decide(self, verdict: Verdict | None) -> None:
        """Set the state's reason to stop, if there is one by now."""
        state = self._state
        state.elapsed_s = self.elapsed_s
        # A target reached by breaking a constraint is not reached.
        score = verdict.score.mean if verdict is not None and verdict.is_feasible else None
        state.stop_reason = stop_reason(self._spec.budget, state, score)

    def test(self, vector: FloatArray) -> ResultEvent:
        """Score base, warm start and this vector on the test set, once."""
        self._sink.emit(StageEvent(stage="test", message="scoring the test set"))
        vectors = np.stack([np.zeros_like(vector), vector])
        watched = self.watched("test", None)
        scores = watched.evaluate(vectors, self._data.test, with_base=True, label="test")
        self._recorder.rollouts("test", None, self._data.test, scores)
        state = self._state
        state.elapsed_s = self.elapsed_s
        return report.result_event(
            state, self._objective, self._data, scores, self._spec.evaluation.samples
        )

    def tell_failures(self, scores: PopulationScores) -> None:
        """Tell every kind of failure once; the events carry the counts of missing scores."""
        news = scores.failures.keys() - self._told
        if news:
            self._told |= news
            self.warn(
                "missing_scores", f"some scores are missing: {describe_failures(scores.failures)}"
            )

    def tell_once(self, code: str, message: str | None) -> None:
        """Warn, unless this very message was told before."""
        if message is not None and message not in self._told:
            self._told.add(message)
            self.warn(code, message)

    def say(self, message: str) -> None:
        """Show where the search is."""
        self._sink.emit(StageEvent(stage="search", message=message))

    def warn(self, code: str, message: str) -> None:
        """Tell the user what they should know; the job goes on."""
        self._sink.emit(WarningEvent(code=code, message=message))
