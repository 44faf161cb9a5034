"""The loop of a gradient method: roll out -> update -> judge -> checkpoint -> event.

Everything but the update is what a search does too: the same batches, engines, reward, validation,
test, and rule for the result.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from essa.coordinator import report
from essa.coordinator.examiner import Examiner
from essa.coordinator.loop import Outcome
from essa.coordinator.state import Preparation, open_run, save_run
from essa.coordinator.stopping import eta_s
from essa.coordinator.watched_evaluator import count
from essa.data import JobData, draw_batch
from essa.objective.build import make_objective
from essa.ports import (
    Clock,
    Evaluator,
    EventSink,
    GradientTrainer,
    GroupRollouts,
    GroupSampler,
    MonotonicClock,
    Recorder,
    TrainerNews,
)
from essa.spec.grpo import GrpoMethod
from essa.spec.job import AlignmentJobSpec


class GradientCoordinator:
    """Runs one training to its end.

    Args:
        spec: its method is `grpo`.
        evaluator: scores vectors of adapter weights.
        sampler: rolls out for the trainer.
        trainer: makes the updates.
        dimension: D, weights of the adapter.
        digest: identity of the warm start; a checkpoint over another is refused.
        checkpoint: file that is written with every one of the trainer's and resumed from.
        before: what the job has used so far.
        recorder: takes what is only looked at.
        devices: GPUs, or cores where there are none, that the job holds.
    """

    def __init__(
        self,
        spec: AlignmentJobSpec,
        data: JobData,
        evaluator: Evaluator,
        sampler: GroupSampler,
        trainer: GradientTrainer,
        sink: EventSink,
        *,
        dimension: int,
        digest: str,
        checkpoint: Path,
        clock: Clock | None = None,
        before: Preparation | None = None,
        recorder: Recorder | None = None,
        devices: int = 1,
    ) -> None:
        assert isinstance(spec.method, GrpoMethod)
        self._spec, self._method = spec, spec.method
        self._data = data
        self._sampler = sampler
        self._trainer = trainer
        self._sink = sink
        self._checkpoint = checkpoint
        self._clock = clock or MonotonicClock()
        self._recorder = recorder or Recorder()
        opened = open_run(checkpoint, digest, dimension=dimension, before=before or Preparation())
        self._state, self._is_resumed = opened.state, opened.is_resumed
        self._examiner = Examiner(
            spec, data, evaluator, sink, objective=make_objective(spec, dimension),
            state=self._state, recorder=self._recorder, clock=self._clock, devices=devices,
        )  # fmt: skip
        for text in opened.notes:
            self._examiner.warn("checkpoint_fallback", text)

    def run(self) -> Outcome:
        """Train until the budget ends, then score the test set once.

        Raises:
            JobCancelledError: the user cancelled; the last checkpoint stays.
            EvaluationError, ClusterError: engines or trainer failed for good.
        """
        state, examiner = self._state, self._examiner
        self._recorder.begin(state.generation if self._is_resumed else -1)
        if not state.stop_reason:
            news = self._trainer.start(state.generation)
            if self._is_resumed:
                examiner.say(f"resumed after step {state.generation}")
            else:
                examiner.decide(examiner.validate(news.vector))
            while not state.stop_reason:
                news = self._generation(news)
        return Outcome(state.best_vector, examiner.test(state.best_vector))

    def _generation(self, news: TrainerNews) -> TrainerNews:
        state, examiner = self._state, self._examiner
        began_s = self._clock.now_s()
        number = state.generation + 1
        rollouts = self._roll_out(news, number)
        before, news = news.vector, self._trainer.step(rollouts)
        trained_s = self._clock.now_s()
        state.generation = number
        is_due = examiner.is_due(number)
        examiner.decide(examiner.validate(news.vector) if is_due else None)
        if state.stop_reason and not is_due:
            # The last adapter deserves its chance to be picked.
            examiner.validate(news.vector)
        if news.is_saved:
            save_run(self._checkpoint, state)
        self._sink.emit(
            report.gradient_event(
                state,
                rollouts,
                news,
                step_norm=float(np.linalg.norm(news.vector - before)),
                generation_s=trained_s - began_s,
                device_s=examiner.device_s,
                eta_s=eta_s(self._spec.budget, state, self._clock.now_s() - began_s),
            )
        )
        return news

    def _roll_out(self, news: TrainerNews, number: int) -> GroupRollouts:
        spec, method = self._spec, self._method
        batch = draw_batch(self._data.train, spec.batch_size, seed=spec.seed, generation=number)
        began_s = self._examiner.elapsed_s
        rollouts = self._sampler.sample(
            news.vector,
            batch,
            samples=method.group_size,
            temperature=method.temperature,
            # Every step has its own luck; a step that is done again has the same.
            seed=spec.seed + number * spec.batch_size * method.group_size,
        )
        self._recorder.rollouts("train", number, batch, rollouts.by_sample())
        count(rollouts.scores, began_s, self._state, self._recorder, "train", number)
        self._examiner.tell_failures(rollouts.scores)
        self._examiner.tell_once("records_not_written", self._recorder.failure())
        return rollouts
