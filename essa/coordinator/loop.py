"""The coordinator: ask -> evaluate -> shape -> tell -> checkpoint -> event."""

from __future__ import annotations

from dataclasses import dataclass

from essa.coordinator import run_events
from essa.coordinator.examiner import Examiner
from essa.coordinator.generation import roll_out, tell
from essa.coordinator.ladder import probe_ladder
from essa.coordinator.run import Run
from essa.coordinator.stopping import budget_frac, eta_s
from essa.data import draw_batch
from essa.events import ResultEvent, StageEvent
from essa.objective.fitness import MIN_HALVED
from essa.ports import Evaluator
from essa.search.base import BudgetShare, SearchStrategy
from essa.search.registry import make_search
from essa.spec.job import BATCH_SIZE
from essa.types import FloatArray

RELIABILITY_FLOOR = 0.3
"""Split-half reliability under which a generation learned next to nothing."""
INFORMATIVE_FLOOR = 0.05
"""Share of prompts on which candidates differ at all, under which next to nothing is learned."""
RELIABILITY_PATIENCE = 3
"""Generations in a row under a floor before the user is warned."""


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
        run: whose vectors are offsets from the warm start.
        evaluator: scores them.
    """

    def __init__(self, run: Run, evaluator: Evaluator) -> None:
        self._run = run
        self._examiner = Examiner(run, evaluator)

    def run(self) -> Outcome:
        """Search until the budget ends, then score the test set once.

        Raises:
            JobCancelledError: the user cancelled; the last checkpoint stays.
            EvaluationError, ClusterError: the engines failed for good.
            NonFiniteFitnessError: a generation had no usable scores.
        """
        search = self._start()
        state = self._run.state
        while not state.stop_reason:
            self._generation(search)
        vector = state.best_vector
        return Outcome(vector, self._examiner.test(vector))

    # -- before the first generation --------------------------------------------------------

    def _start(self) -> SearchStrategy:
        run, state, spec = self._run, self._run.state, self._run.spec
        run.recorder.begin(state.generation if run.is_resumed else -1)
        if run.is_resumed:
            run.say(f"resumed after generation {state.generation}")
        else:
            state.sigma_init = self._initial_sigma()
        searched = spec.method.searched_with(spec.search, state.sigma_init)
        search = make_search(searched, run.space.dimension, state.sigma_init, spec.seed)
        if state.search is not None:
            search.restore(state.search)
        # A crash may have lost the newest one.
        run.recorder.vector(state.generation, search.mean)
        if state.search is None:
            self._examiner.decide(self._examiner.validate(search.mean))
            state.at_start = state.used(state.elapsed_s)
            run.save(search)
        return search

    def _initial_sigma(self) -> float:
        run, spec = self._run, self._run.spec
        search = spec.search
        if search.sigma_init != "auto":
            return search.sigma_init
        prompts = search.ladder.prompts or (spec.batch_size if spec.groups == 1 else BATCH_SIZE)
        outcome = probe_ladder(
            self._examiner.watched("ladder", 0),
            run.objective,
            draw_batch(run.data.train, prompts, seed=spec.seed, generation=0),
            dimension=run.space.dimension,
            spec=search.ladder,
            target=search.target,
            seed=spec.seed,
            on_rung=lambda done, total: run.sink.emit(
                StageEvent(stage="ladder", message="trying step sizes", done=done, total=total)
            ),
        )
        run.sink.emit(outcome.event)
        if (outcome.reliability or 0.0) < RELIABILITY_FLOOR:
            run.warn(
                "unreliable_ladder",
                f"the best step size found, {outcome.sigma:g}, has a split-half reliability under "
                f"{RELIABILITY_FLOOR}: candidates differ by noise. Raise batch_size, or extend "
                "search.ladder.sigmas upwards",
            )
        return outcome.sigma

    # -- one generation ---------------------------------------------------------------------

    def _generation(self, search: SearchStrategy) -> None:
        run, spec, state = self._run, self._run.spec, self._run.state
        began_s = run.clock.now_s()
        used_before = budget_frac(spec.budget, state, run.elapsed_s)
        number = state.generation + 1
        batch = draw_batch(
            run.data.train,
            spec.batch_size,
            seed=spec.seed,
            generation=number,
            repeats=spec.groups > 1,
        )
        evaluator = self._examiner.watched("train", number)
        found = roll_out(evaluator, run.objective, search, batch, number, spec.groups)
        run.recorder.rollouts("train", number, batch, found.scores)
        state.generation = number
        used_after = budget_frac(spec.budget, state, run.elapsed_s)
        step = tell(search, found, BudgetShare(used_before, used_after))
        run.objective.learn(found.means_N_J, found.mean_J)
        if not step.updated:
            run.warn("no_update", f"generation {number} changed nothing: {step.reason}")
        if spec.batch_size >= MIN_HALVED * spec.groups:
            self._watch_reliability(found.reliability)
        self._watch_information(found.informative_frac)
        run.tell_failures(found.scores)
        run.tell_once("constraint_out_of_reach", run.objective.warning())
        run.tell_once("records_not_written", run.recorder.failure())
        run.recorder.vector(number, search.mean)
        evaluated_s = run.clock.now_s()
        is_due = self._examiner.is_due(number) or run.objective.wants_verdict
        self._examiner.decide(self._examiner.validate(search.mean) if is_due else None)
        if state.stop_reason and not is_due:
            # The last mean vector deserves its chance to be picked.
            self._examiner.validate(search.mean)
        validated_s = run.clock.now_s()
        run.save(search)
        run.sink.emit(
            run_events.generation_event(
                run,
                search,
                found,
                step_norm=step.step_norm,
                generation_s=evaluated_s - began_s + (run.clock.now_s() - validated_s),
                eta_s=eta_s(spec.budget, state, run.clock.now_s() - began_s),
            )
        )

    def _watch_information(self, informative_frac: float) -> None:
        state = self._run.state
        is_low = informative_frac < INFORMATIVE_FLOOR
        state.uninformative_streak = state.uninformative_streak + 1 if is_low else 0
        if state.uninformative_streak == RELIABILITY_PATIENCE:
            self._run.warn(
                "low_information",
                f"for {RELIABILITY_PATIENCE} generations candidates have scored alike on more than "
                f"{1 - INFORMATIVE_FLOOR:.0%} of their prompts, which then say nothing. Use "
                "prompts that are neither solved nor missed by all, a graded reward, or a larger "
                "search.sigma_init",
            )

    def _watch_reliability(self, reliability: float | None) -> None:
        state = self._run.state
        is_low = reliability is None or reliability < RELIABILITY_FLOOR
        state.unreliable_streak = state.unreliable_streak + 1 if is_low else 0
        if state.unreliable_streak == RELIABILITY_PATIENCE:
            self._run.warn(
                "low_reliability",
                f"split-half reliability has been under {RELIABILITY_FLOOR} for "
                f"{RELIABILITY_PATIENCE} generations: candidates are ranked mostly by luck. Where "
                "the validation score does not rise, raise search.sigma_init or batch_size, or use "
                "sigma_init: auto",
            )
