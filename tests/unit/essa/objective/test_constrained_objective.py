"""A coordinator in constrained mode, on components whose constrained optimum is known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from essa.coordinator.loop import Coordinator, Outcome
from essa.coordinator.run import Outlets, Run, Space, Start
from essa.data import JobData
from essa.errors import CheckpointIncompatibleError, JobCancelledError, SpecError
from essa.events import GenerationEvent, ValidationEvent
from essa.objective.constrained import ConstrainedObjective
from essa.objective.fitness import mean_of_known
from essa.objective.normalized import reward_objective
from essa.objective.objective import Objective
from essa.ports import Evaluator
from essa.spec import AlignmentJobSpec
from essa.spec.constrained import ConstrainedSpec
from essa.spec.reading.file import validate_job
from essa.storage.checkpoint import previous_path
from essa.testing import FakeClock, RecordingSink
from essa.types import PopulationScores, Row

DIMENSION = 6
NAN = float("nan")


class TradeOff(Evaluator):
    """tone rises along the first axis, topic falls with it and rises along the second.

    tone = v0, topic = 1 - v0 / 2 + v1 / 4, each less a twentieth of the squared vector; prompts
    differ in ease. Topic at 0.8 or more leaves tone its best on the edge of that.
    """

    def __init__(self, stop_after: int = 10**9) -> None:
        self.calls = 0
        self.sizes: list[int] = []
        self._stop_after = stop_after

    def evaluate(
        self,
        vectors_N_D: np.ndarray,
        rows: Sequence[Row],
        *,
        groups: int = 1,
        with_base: bool = False,
        label: str = "",
    ) -> PopulationScores:
        self.calls += 1
        self.sizes.append(len(vectors_N_D))
        if self.calls > self._stop_after:
            raise JobCancelledError("stopped by the test")
        if with_base:
            vectors_N_D = np.vstack([np.zeros((1, DIMENSION)), vectors_N_D])
        cost = 0.05 * (vectors_N_D**2).sum(axis=1)
        tone = vectors_N_D[:, 0] - cost
        topic = 1 - vectors_N_D[:, 0] / 2 + vectors_N_D[:, 1] / 4 - cost
        ease = np.array([np.sin(row.index) for row in rows]) * 0.05
        parts = {
            "tone": tone[:, None] + ease,
            "topic": topic[:, None] + ease[::-1],
            "length": np.ones((len(vectors_N_D), len(rows))),
            "balance": (-((topic - 0.9) ** 2) + 0.1 * tone)[:, None] + 0 * ease,
        }
        return PopulationScores(
            rewards_N_P=parts["tone"] + parts["topic"],
            components=parts,
            completions=[[""] * len(rows) for _ in vectors_N_D],
            prompt_tokens=1,
            generated_tokens=1,
            rollout_s=1.0,
            reward_s=0.0,
        )


def rows(first: int, count: int) -> tuple[Row, ...]:
    return tuple(Row(index, f"prompt {index}") for index in range(first, first + count))


DATA = JobData(train=rows(0, 40), validation=rows(100, 20), test=rows(200, 20))
REWARD = {
    "type": "composite",
    "components": [
        {"name": name, "reward": {"type": "sentiment"}} for name in ("tone", "topic", "length")
    ],
}
AT_LEAST = {"component": "topic", "threshold": 0.8}


def job(method: dict[str, Any] | None = None, **parts: Any) -> dict[str, Any]:
    constrained = {
        "type": "constrained_evolution",
        "objective": "tone",
        "constraints": [AT_LEAST],
    } | (method or {})
    plain = {
        "model": {"path": "somewhere"},
        "data": {"train": {"path": "train.jsonl"}},
        "reward": REWARD,
        "method": constrained,
        "search": {"type": "sep_cma_es", "population": 16, "sigma_init": 0.2, "sigma_min": 0.02},
        "batch_size": 12,
        "budget": {"generations": 60},
        "evaluation": {"every": 1},
    }
    return plain | parts


def objective_of(job: AlignmentJobSpec) -> Objective:
    if not isinstance(job.method, ConstrainedSpec):
        return reward_objective(job)
    share = job.evaluation.max_missing_frac
    return ConstrainedObjective(job.method, DIMENSION, job.budget.generations, share)


class Bench:
    def __init__(self, folder: Path) -> None:
        self.checkpoint = folder / "search.ckpt"
        self.sink = RecordingSink()
        self.evaluator = TradeOff()

    def start_anew(self) -> None:
        self.checkpoint.unlink(missing_ok=True)
        previous_path(self.checkpoint).unlink(missing_ok=True)

    def run(self, spec: dict[str, Any], stop_after: int = 10**9) -> Outcome:
        self.sink, self.evaluator = RecordingSink(), TradeOff(stop_after)
        outlets = Outlets(self.sink, clock=FakeClock())
        start = Start(self.checkpoint)
        job = validate_job(spec)
        run = Run(job, objective_of(job), DATA, outlets, Space(DIMENSION, "d" * 64), start)
        return Coordinator(run, self.evaluator).run()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def best_tone() -> float:
    """On a grid over the two axes that matter."""
    first, second = np.meshgrid(np.linspace(0, 4, 801), np.linspace(0, 4, 801))
    cost = 0.05 * (first**2 + second**2)
    held = 1 - first / 2 + second / 4 - cost >= 0.8
    return float((first - cost)[held].max())


@pytest.mark.parametrize(
    "controller",
    [
        {"type": "augmented_lagrangian"},
        {"type": "augmented_lagrangian", "adapt_penalty": True},
        {"type": "exact_penalty"},
        {"type": "mu"},
        {"type": "augmented_lagrangian", "measure": "population_mean"},
    ],
    ids=lambda one: "-".join(map(str, one.values())),
)
def test_the_objective_is_maximised_and_the_constraint_held(bench, controller):
    result = bench.run(job({"controller": controller})).result
    aligned = result.test["aligned"]
    (status,) = aligned.constraints
    picked = [event for event in bench.sink.of(ValidationEvent) if event.is_best][-1]
    assert picked.is_feasible
    assert status.value == pytest.approx(0.8, abs=0.06)
    assert aligned.components["tone"] == pytest.approx(best_tone(), abs=0.08)
    assert result.test["warm_start"].constraints[0].is_held


def test_without_the_constraint_the_objective_breaks_it(bench):
    result = bench.run(job(method={"type": "evolution"}) | {"method": {"type": "evolution"}}).result
    assert result.test["aligned"].constraints == []
    weights = {"type": "fixed_weights", "weights": [0.0]}
    status = bench_status(bench, job({"controller": weights}, seed=1))
    assert not status.is_held
    assert status.value < 0.5


def bench_status(bench: Bench, spec: dict[str, Any]):
    bench.start_anew()
    bench.run(spec)
    return bench.sink.of(GenerationEvent)[-1].constraints[0]


def test_an_equality_is_met_from_both_sides(bench):
    for controller, within in (({"type": "xi"}, 0.15), ({"type": "augmented_lagrangian"}, 0.05)):
        method = {
            "objective": "distance",
            "constraints": [{"component": "tone", "threshold": 0.5, "direction": "="}],
            "controller": controller,
        }
        status = bench_status(bench, job(method))
        assert status.value == pytest.approx(0.5, abs=within)


def test_a_ceiling_is_a_floor_turned_round(bench):
    method = {"constraints": [{"component": "distance", "threshold": 0.5, "direction": "<="}]}
    status = bench_status(bench, job(method))
    assert status.component == "distance"
    assert status.value == pytest.approx(0.5, abs=0.06)


def test_the_result_is_feasible_although_an_infeasible_vector_has_more_of_the_objective(bench):
    bench.run(job({"controller": {"type": "fixed_weights", "weights": [0.0]}}))
    judged = bench.sink.of(ValidationEvent)
    picked = [event for event in judged if event.is_best][-1]
    assert picked.is_feasible
    assert max(event.score for event in judged) > picked.score + 0.3
    assert picked.score == max(event.score for event in judged if event.is_feasible)


def test_a_target_is_not_reached_by_breaking_a_constraint(bench):
    spec = job(
        {"controller": {"type": "fixed_weights", "weights": [0.0]}},
        budget={"generations": 40, "target_score": best_tone() + 0.2},
    )
    assert "budget.generations" in bench.run(spec).result.stop_reason


def test_generations_tell_values_thresholds_and_multipliers(bench):
    bench.run(job(budget={"generations": 30}))
    events = bench.sink.of(GenerationEvent)
    assert events[0].feasible_frac is not None
    multipliers = [event.constraints[0].multiplier for event in events]
    assert multipliers[-1] > multipliers[0] >= 0
    assert events[-1].constraints[0].threshold == 0.8


def test_the_mean_is_rolled_out_only_where_it_is_measured(bench):
    bench.run(job(budget={"generations": 3}))
    assert bench.evaluator.sizes.count(17) == 3
    assert len(bench.sink.of(GenerationEvent)[-1].fitness) == 16
    bench.start_anew()
    controller = {"type": "mu", "measure": "population_mean"}
    bench.run(job({"controller": controller}, budget={"generations": 3}))
    assert 16 in bench.evaluator.sizes
    assert 17 not in bench.evaluator.sizes


def test_gaps_are_those_of_the_mean_and_not_of_the_worse_candidates_around_it():
    method = ConstrainedSpec.model_validate(
        {
            "objective": "tone",
            "constraints": [AT_LEAST],
            "controller": {"type": "exact_penalty", "penalty": 5},
        }
    )
    # Every candidate misses 0.8, the mean they surround does not by far.
    means = np.array([[0.1, 0.70], [0.2, 0.65], [0.3, 0.60]])
    held = ConstrainedObjective(method, DIMENSION, 10, 0.25)
    held.observe(means, np.array([0.2, 0.95]))
    assert held.fitness(means).argmax() == 2
    broken = ConstrainedObjective(method, DIMENSION, 10, 0.25)
    broken.observe(means, np.array([0.2, 0.65]))
    assert broken.fitness(means).argmax() == 0


@pytest.mark.parametrize("kind", ["augmented_lagrangian", "mu", "exact_penalty"])
def test_a_resumed_run_equals_one_that_was_not_interrupted(bench, tmp_path, kind):
    spec = job({"controller": {"type": kind}}, budget={"generations": 8})
    whole = bench.run(spec)
    other = Bench(tmp_path / "other")
    with pytest.raises(JobCancelledError):
        other.run(spec, stop_after=9)
    again = other.run(spec)
    np.testing.assert_array_equal(again.vector, whole.vector)
    last = other.sink.of(GenerationEvent)[-1]
    assert last.constraints == bench.sink.of(GenerationEvent)[-1].constraints


@pytest.mark.parametrize("interrupted", [False, True])
def test_thresholds_are_searched_by_the_metric_on_the_validation_set(bench, interrupted):
    # More topic is better than what the first threshold asks for.
    method = {
        "constraints": [{"component": "topic", "threshold": 0.6}],
        "threshold_search": {"metric": "balance", "settle": 2},
    }
    spec = job(method, reward=with_component("balance"), budget={"generations": 48})
    if interrupted:
        with pytest.raises(JobCancelledError):
            bench.run(spec, stop_after=70)
    before = bench.sink.of(GenerationEvent)
    bench.run(spec)
    events = [*before, *bench.sink.of(GenerationEvent)]
    thresholds = [event.constraints[0].threshold for event in events]
    assert len(set(thresholds)) > 2
    assert len(events) == 48
    if not interrupted:
        judged = bench.sink.of(ValidationEvent)
        picked = [event for event in judged if event.is_best][-1]
        assert picked.score == max(event.components["balance"] for event in judged)


def with_component(name: str) -> dict[str, Any]:
    part = {"name": name, "weight": 0.0, "reward": {"type": "sentiment"}}
    return REWARD | {"components": [*REWARD["components"], part]}


def test_a_run_cannot_go_on_under_another_controller(bench):
    bench.run(job(budget={"generations": 2}))
    with pytest.raises(CheckpointIncompatibleError, match="augmented_lagrangian over tone, topic"):
        bench.run(job({"controller": {"type": "mu"}}, budget={"generations": 4}))


def test_a_candidate_with_a_missing_component_has_no_fitness():
    method = ConstrainedSpec.model_validate({"objective": "tone", "constraints": [AT_LEAST]})
    objective = ConstrainedObjective(method, DIMENSION, 10, 0.25)
    means = np.array([[0.1, 0.9], [0.3, NAN], [0.2, 0.5], [0.5, 0.85]])
    objective.observe(means, None)
    fitness = objective.fitness(means)
    assert np.isnan(fitness).tolist() == [False, True, False, False]
    assert fitness[3] > fitness[2]
    objective.learn(means, None)
    assert objective.status()[0].value == pytest.approx(0.75)
    assert objective.feasible_frac(means) == 0.5


def test_a_generation_without_any_value_changes_nothing():
    method = ConstrainedSpec.model_validate({"objective": "tone", "constraints": [AT_LEAST]})
    objective = ConstrainedObjective(method, DIMENSION, 10, 0.25)
    means = np.array([[0.1, 0.9], [0.3, 0.7]])
    objective.observe(means, None)
    objective.learn(means, None)
    before = objective.state()["measured"]
    objective.observe(np.full((2, 2), NAN), None)
    objective.learn(np.full((2, 2), NAN), None)
    assert objective.state()["measured"] == before
    assert np.isnan(mean_of_known(np.full((2, 2), NAN))).all()


def test_a_first_generation_without_any_value_does_not_end_the_measuring():
    method = ConstrainedSpec.model_validate({"objective": "tone", "constraints": [AT_LEAST]})
    objective = ConstrainedObjective(method, DIMENSION, 10, 0.25)
    for means in (np.full((2, 2), NAN), np.array([[0.1, 0.9], [0.3, 0.7]])):
        objective.observe(means, None)
        objective.learn(means, None)
    assert objective.state()["measured"] == pytest.approx([0.2, 0.8])


@pytest.mark.parametrize(
    ("method", "field", "words"),
    [
        ({"objective": "mood"}, "", "method.objective is 'mood'.*length, tone, topic"),
        ({"constraints": []}, "method.constraints", "1 entry or more"),
        ({"constraints": [{"component": "topic"}]}, "method.constraints.0.threshold", "missing"),
        ({"constraints": [AT_LEAST | {"component": "x"}]}, "", "constraints.0.component is 'x'"),
        ({"constraints": [AT_LEAST | {"component": "tone"}]}, "method", "is the objective"),
        ({"constraints": [AT_LEAST, AT_LEAST]}, "method", "again; keep one"),
        (
            {"constraints": [AT_LEAST | {"direction": ">"}]},
            "method.constraints.0.direction",
            "'>='",
        ),
        ({"constraints": [AT_LEAST | {"range": 0}]}, "method.constraints.0.range", "above 0"),
        ({"constraints": [AT_LEAST | {"tolerance": -1}]}, "method.constraints.0.tolerance", "0 or"),
        ({"controller": {"type": "xi"}}, "method", "xi holds equalities only; use mu"),
        (
            {"controller": {"type": "mu"}, "constraints": [AT_LEAST | {"direction": "="}]},
            "method",
            "mu holds inequalities only; use xi",
        ),
        ({"controller": {"type": "pid"}}, "method.controller", "'augmented_lagrangian'"),
        ({"controller": {"type": "mu", "ema": 1}}, "method.controller.ema", "below 1"),
        (
            {"controller": {"type": "mu", "learning_rate": 0}},
            "method.controller.learning_rate",
            "0",
        ),
        (
            {"controller": {"type": "fixed_weights", "weights": [1, 2]}},
            "method",
            "2 entries for 1 constraints",
        ),
        (
            {"controller": {"type": "exact_penalty", "penalty": -2}},
            "method.controller.penalty",
            "0",
        ),
        ({"type": "constrained"}, "method", "'constrained_evolution'"),
        ({"threshold": 1}, "method.threshold", "no such setting"),
        ({"threshold_search": {"metric": "topic"}}, "method", "itself pushes"),
        ({"threshold_search": {"metric": "mood"}}, "", "threshold_search.metric is 'mood'"),
        ({"threshold_search": {}}, "method.threshold_search.metric", "missing"),
    ],
)
def test_a_wrong_method_names_the_setting_and_the_fix(method, field, words):
    with pytest.raises(SpecError, match=words) as caught:
        validate_job(job(method))
    assert (caught.value.detail["field"] or "") == field


def test_a_constrained_job_needs_components():
    with pytest.raises(SpecError, match=r"reward\.type is sentiment.*composite"):
        validate_job(job(reward={"type": "sentiment"}))
