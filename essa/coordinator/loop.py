"""The coordinator: ask -> evaluate -> shape -> tell -> checkpoint -> event."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from essa.coordinator import report
from essa.coordinator.examiner import Examiner
from essa.coordinator.generation import roll_out, tell
from essa.coordinator.ladder import probe_ladder
from essa.coordinator.state import Preparation, open_run, save_run
from essa.coordinator.stopping import eta_s
from essa.data import JobData, draw_batch
from essa.events import ResultEvent, StageEvent
from essa.objective.build import make_objective, searched_with
from essa.ports import Clock, Evaluator, EventSink, MonotonicClock, Recorder
from essa.search.base import SearchStrategy
from essa.search.registry import make_search
from essa.spec.job import AlignmentJobSpec
from essa.types import FloatArray

RELIABILITY_FLOOR = 0.3
"""Split-half reliability under which a generation learned next to nothing."""
RELIABILITY_PATIENCE = 3
"""Generations in a row under the floor before the user is warned."""


@dataclass(frozen=True)
class Outcome:
    """What the search found: the vector to export, and the result without the adapter's path."""

    vector: FloatArray
    result: ResultEvent


class Coordinator:
    """Runs one search to its end.

    All decisions are in pure functions (`fitness`, `ladder`, `stopping`); this class owns the order
    of things and the I/O.

    Args:
        basis_digest: identity of the bases; a checkpoint over others is refused.
        dimension: D.
        checkpoint: file that is written after every generation and resumed from.
        before: what the job has used so far.
        recorder: takes what is only looked at.
        devices: GPUs, or cores where there are none, that the engines hold.
    """

    def __init__(
        self,
        spec: AlignmentJobSpec,
        data: JobData,
        evaluator: Evaluator,
        sink: EventSink,
        *,
        dimension: int,
        basis_digest: str,
        checkpoint: Path,
        clock: Clock | None = None,
        before: Preparation | None = None,
        recorder: Recorder | None = None,
        devices: int = 1,
    ) -> None:
        self._spec = spec
        self._data = data
        self._sink = sink
        self._dimension = dimension
        self._checkpoint = checkpoint
        self._clock = clock or MonotonicClock()
        self._recorder = recorder or Recorder()
        self._objective = make_objective(spec, dimension)
        opened = open_run(
            checkpoint, basis_digest, dimension=dimension, before=before or Preparation()
        )
        self._state, self._is_resumed = opened.state, opened.is_resumed
        if opened.is_resumed:
            self._objective.restore(opened.state.objective)
        self._examiner = Examiner(
            spec, data, evaluator, sink, objective=self._objective, state=self._state,
            recorder=self._recorder, clock=self._clock, devices=devices,
        )  # fmt: skip
        for text in opened.notes:
            self._examiner.warn("checkpoint_fallback", text)

    def run(self) -> Outcome:
        """Search until the budget ends, then score the test set once.

        Raises:
            JobCancelledError: the user cancelled; the last checkpoint stays.
            EvaluationError, ClusterError: the engines failed for good.
            NonFiniteFitnessError: a generation had no usable scores.
        """
        search = self._start()
        state = self._state
        while not state.stop_reason:
            self._generation(search)
        vector = state.best_vector
        return Outcome(vector, self._examiner.test(vector))

    # -- before the first generation --------------------------------------------------------

    def _start(self) -> SearchStrategy:
        state, spec = self._state, self._spec
        self._recorder.begin(state.generation if self._is_resumed else -1)
        if self._is_resumed:
            self._examiner.say(f"resumed after generation {state.generation}")
        else:
            state.sigma_init = self._initial_sigma()
        search = make_search(
            searched_with(spec, state.sigma_init), self._dimension, state.sigma_init, spec.seed
        )
        if state.search is not None:
            search.restore(state.search)
        # A crash may have lost the newest one.
        self._recorder.vector(state.generation, search.mean)
        if state.search is None:
            self._examiner.decide(self._examiner.validate(search.mean))
            self._save(search)
        return search

    def _initial_sigma(self) -> float:
        spec = self._spec.search
        if spec.sigma_init != "auto":
            return spec.sigma_init
        prompts = spec.ladder.prompts or self._spec.batch_size
        outcome = probe_ladder(
            self._examiner.watched("ladder", 0),
            self._objective,
            draw_batch(self._data.train, prompts, seed=self._spec.seed, generation=0),
            dimension=self._dimension,
            spec=spec.ladder,
            target=spec.target,
            seed=self._spec.seed,
            on_rung=lambda done, total: self._sink.emit(
                StageEvent(stage="ladder", message="trying step sizes", done=done, total=total)
            ),
        )
        self._sink.emit(outcome.event)
        if (outcome.reliability or 0.0) < RELIABILITY_FLOOR:
            self._examiner.warn(
                "unreliable_ladder",
                f"the best step size found, {outcome.sigma:g}, has a split-half reliability under "
                f"{RELIABILITY_FLOOR}: candidates differ by noise. Raise batch_size, or extend "
                "search.ladder.sigmas upwards",
            )
        return outcome.sigma

    # -- one generation ---------------------------------------------------------------------

    def _generation(self, search: SearchStrategy) -> None:
        spec, state, objective = self._spec, self._state, self._objective
        began_s = self._clock.now_s()
        number = state.generation + 1
        batch = draw_batch(self._data.train, spec.batch_size, seed=spec.seed, generation=number)
        found = roll_out(self._examiner.watched("train", number), objective, search, batch, number)
        self._recorder.rollouts("train", number, batch, found.scores)
        step = tell(search, found)
        objective.learn(found.means_N_J, found.mean_J)
        if not step.updated:
            self._examiner.warn("no_update", f"generation {number} changed nothing: {step.reason}")
        self._watch_reliability(found.reliability)
        self._examiner.tell_failures(found.scores)
        self._examiner.tell_once("constraint_out_of_reach", objective.warning())
        self._examiner.tell_once("records_not_written", self._recorder.failure())
        state.generation = number
        self._recorder.vector(number, search.mean)
        evaluated_s = self._clock.now_s()
        is_due = self._examiner.is_due(number) or objective.wants_verdict
        self._examiner.decide(self._examiner.validate(search.mean) if is_due else None)
        if state.stop_reason and not is_due:
            # The last mean vector deserves its chance to be picked.
            self._examiner.validate(search.mean)
        validated_s = self._clock.now_s()
        self._save(search)
        generation_s = evaluated_s - began_s + (self._clock.now_s() - validated_s)
        self._sink.emit(
            report.generation_event(
                state,
                search,
                objective,
                found,
                step_norm=step.step_norm,
                generation_s=generation_s,
                device_s=self._examiner.device_s,
                eta_s=eta_s(spec.budget, state, self._clock.now_s() - began_s),
            )
        )

    def _save(self, search: SearchStrategy) -> None:
        self._state.search = search.state()
        self._state.objective = self._objective.state()
        save_run(self._checkpoint, self._state)

    def _watch_reliability(self, reliability: float | None) -> None:
        state = self._state
        is_low = reliability is None or reliability < RELIABILITY_FLOOR
        state.unreliable_streak = state.unreliable_streak + 1 if is_low else 0
        if state.unreliable_streak == RELIABILITY_PATIENCE:
            self._examiner.warn(
                "low_reliability",
                f"split-half reliability has been under {RELIABILITY_FLOOR} for "
                f"{RELIABILITY_PATIENCE} generations: candidates are ranked mostly by luck. Where "
                "the validation score does not rise, raise search.sigma_init or batch_size, or use "
                "sigma_init: auto",
            )
