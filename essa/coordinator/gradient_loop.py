"""The loop of a gradient method: roll out -> update -> judge -> checkpoint -> event.

Everything but the update is what a search does too: the same batches, engines, reward, validation,
test, and rule for the result.
"""

from __future__ import annotations

import numpy as np

from essa.coordinator import run_events
from essa.coordinator.examiner import Examiner
from essa.coordinator.loop import Outcome
from essa.coordinator.run import Run
from essa.coordinator.stopping import eta_s
from essa.data import draw_batch
from essa.ports import Evaluator, GradientTrainer, GroupRollouts, GroupSampler, TrainerNews
from essa.spec.grpo import GrpoSpec


class GradientCoordinator:
    """Runs one training to its end.

    Args:
        run: its vectors are the adapter's weights.
        method: of the run.
        evaluator: scores them.
        sampler: rolls out for the trainer.
        trainer: makes the updates.
    """

    def __init__(
        self,
        run: Run,
        method: GrpoSpec,
        evaluator: Evaluator,
        sampler: GroupSampler,
        trainer: GradientTrainer,
    ) -> None:
        self._run, self._method = run, method
        self._sampler = sampler
        self._trainer = trainer
        self._examiner = Examiner(run, evaluator)

    def run(self) -> Outcome:
        """Train until the budget ends, then score the test set once.

        Raises:
            JobCancelledError: the user cancelled; the last checkpoint stays.
            EvaluationError, ClusterError: engines or trainer failed for good.
        """
        run, state, examiner = self._run, self._run.state, self._examiner
        run.recorder.begin(state.generation if run.is_resumed else -1)
        if not state.stop_reason:
            news = self._trainer.start(state.generation)
            if run.is_resumed:
                run.say(f"resumed after step {state.generation}")
            else:
                examiner.decide(examiner.validate(news.vector))
            while not state.stop_reason:
                news = self._generation(news)
        return Outcome(state.best_vector, examiner.test(state.best_vector))

    def _generation(self, news: TrainerNews) -> TrainerNews:
        run, state, examiner = self._run, self._run.state, self._examiner
        began_s = run.clock.now_s()
        number = state.generation + 1
        rollouts = self._roll_out(news, number)
        before, news = news.vector, self._trainer.step(rollouts)
        trained_s = run.clock.now_s()
        state.generation = number
        is_due = examiner.is_due(number)
        examiner.decide(examiner.validate(news.vector) if is_due else None)
        if state.stop_reason and not is_due:
            # The last adapter deserves its chance to be picked.
            examiner.validate(news.vector)
        if news.is_saved:
            run.save()
        run.sink.emit(
            run_events.step_event(
                run,
                rollouts,
                news,
                step_norm=float(np.linalg.norm(news.vector - before)),
                step_s=trained_s - began_s,
                eta_s=eta_s(run.spec.budget, state, run.clock.now_s() - began_s),
            )
        )
        return news

    def _roll_out(self, news: TrainerNews, number: int) -> GroupRollouts:
        run, spec, method = self._run, self._run.spec, self._method
        batch = draw_batch(run.data.train, spec.batch_size, seed=spec.seed, generation=number)
        began_s = run.elapsed_s
        rollouts = self._sampler.sample(
            news.vector,
            batch,
            samples=method.group_size,
            temperature=method.temperature,
            # Every step has its own luck; a step that is done again has the same.
            seed=spec.seed + number * spec.batch_size * method.group_size,
        )
        run.recorder.rollouts("train", number, batch, rollouts.by_sample())
        run.count(rollouts.scores, began_s, "train", number)
        run.tell_failures(rollouts.scores)
        run.tell_once("records_not_written", run.recorder.failure())
        return rollouts
