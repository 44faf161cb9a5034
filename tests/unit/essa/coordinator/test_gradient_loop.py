"""The loop of a gradient method: real gradient steps on a reward whose optimum is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from essa.coordinator.state import Preparation
from essa.data import draw_batch
from essa.errors import CheckpointIncompatibleError, JobCancelledError
from essa.events import StageEvent, StepEvent, ValidationEvent
from essa.records.recorder import RunRecorder
from essa.records.rollouts import rollout_files
from essa.records.timeline import read_timeline
from essa.records.vectors import kept_generations
from tests.unit.essa.coordinator.coordinator_bench import DATA, OPTIMUM, only
from tests.unit.essa.coordinator.gradient_bench import (
    TRAIN_S,
    GradientBench,
    cancel_after,
    grpo_job,
    prompts,
)


@pytest.fixture
def bench(tmp_path: Path) -> GradientBench:
    return GradientBench(tmp_path / "one")


@pytest.fixture
def other_bench(tmp_path: Path) -> GradientBench:
    return GradientBench(tmp_path / "other")


def test_training_climbs_and_the_best_validation_is_what_is_tested(bench):
    outcome = bench.run(grpo_job(budget={"generations": 12}))
    validations = bench.sink.of(ValidationEvent)
    assert [one.generation for one in validations] == [0, 2, 4, 6, 8, 10, 12]
    assert validations[-1].score > validations[0].score + 0.5
    picked = max(validations, key=lambda one: one.score)
    assert outcome.result.selected_generation == picked.generation
    assert outcome.result.validation.mean == picked.score
    tests = [call for call in bench.evaluator.calls if call.label == "test"]
    assert len(tests) == 1
    assert tests[0].with_base
    np.testing.assert_array_equal(tests[0].vectors_N_D, [np.zeros_like(OPTIMUM), outcome.vector])
    assert outcome.result.test["aligned"].mean > outcome.result.test["warm_start"].mean


def test_a_training_that_goes_too_far_gives_back_what_it_had_before(bench):
    # Far above the rate at which the error grows from step to step.
    outcome = bench.run(grpo_job(evaluation={"every": 1}), rate=1.5)
    scores = {one.generation: one.score for one in bench.sink.of(ValidationEvent)}
    best = max(scores, key=scores.__getitem__)
    assert best < 6
    assert outcome.result.selected_generation == best
    assert outcome.result.generations == 6


def test_every_step_takes_its_own_batch_seed_and_the_methods_temperature(bench):
    spec = grpo_job(method={"type": "grpo", "group_size": 4, "micro_batch": 4, "temperature": 0.7})
    bench.run(spec)
    calls = bench.sampler.calls
    assert len({call["seed"] for call in calls}) == 6
    assert {call["temperature"] for call in calls} == {0.7}
    for number, call in enumerate(calls, start=1):
        wanted = draw_batch(DATA.train, 12, seed=3, generation=number)
        assert prompts(call["rows"]) == prompts(wanted)
    # Seeds of engines count on from a step's: no two steps may share one.
    seeds = sorted(call["seed"] for call in calls)
    assert min(np.diff(seeds)) >= 12 * 4


def test_events_tell_groups_training_and_costs(bench):
    bench.run(grpo_job(), before=Preparation(tokens=1000, samples=50), devices=3)
    events = bench.sink.of(StepEvent)
    assert [one.generation for one in events] == [1, 2, 3, 4, 5, 6]
    for one, rollouts in zip(events, bench.trainer.rollouts, strict=True):
        np.testing.assert_allclose(one.fitness, rollouts.rewards_P_G.mean(axis=1))
        assert one.best == max(one.fitness)
        assert one.worst == min(one.fitness)
        assert one.mean == pytest.approx(rollouts.rewards_P_G.mean())
        assert (one.rollout_s, one.reward_s, one.train_s) == (1.0, 0.5, TRAIN_S)
        assert one.training.keys() == {"loss", "grad_norm"}
        assert one.device_s == pytest.approx(3 * one.elapsed_s)
    # 12 prompts of 8 answers a step, 20 validation prompts at 0 and with every second one.
    assert [one.samples for one in events] == [
        50 + 20 + 96 * n + 20 * (n // 2) for n in range(1, 7)
    ]
    assert events[0].tokens > 1000
    assert events[-1].distance > events[0].step_norm > 0


@pytest.mark.parametrize(("done", "again_from"), [(1, 0), (2, 2), (3, 2), (5, 4)])
def test_an_interrupted_training_ends_as_an_undisturbed_one(bench, other_bench, done, again_from):
    spec = grpo_job()
    whole = bench.run(spec)
    with pytest.raises(JobCancelledError):
        other_bench.run(spec, lose=cancel_after(done))
    resumed = other_bench.run(spec)
    assert other_bench.trainer.started == [again_from]
    np.testing.assert_array_equal(resumed.vector, whole.vector)
    assert resumed.result.model_copy(update={"seconds": 0}) == whole.result.model_copy(
        update={"seconds": 0}
    )

    def told(events):
        return [(one.generation, one.mean, one.training, one.tokens) for one in events]

    found = told(other_bench.sink.of(StepEvent))
    assert found == told(bench.sink.of(StepEvent))[again_from:]
    stages = [one.message for one in other_bench.sink.of(StageEvent)]
    assert (f"resumed after step {again_from}" in stages) == (again_from > 0)


def test_a_training_that_only_lacked_its_test_does_not_train_again(bench):
    def stop(rewards):
        raise JobCancelledError("enough")

    with pytest.raises(JobCancelledError):
        bench.run(grpo_job(), spoil=only("test", stop))
    bench.run(grpo_job())
    assert bench.trainer.started == []
    assert [call.label for call in bench.evaluator.calls] == ["test"]


def test_a_checkpoint_over_another_warm_start_is_refused(bench):
    bench.run(grpo_job())
    with pytest.raises(CheckpointIncompatibleError):
        bench.run(grpo_job(), digest="e" * 64)


@pytest.mark.parametrize(
    ("budget", "reason", "last"),
    [
        ({"generations": 6, "target_score": 0.4}, "target_score", None),
        # Half a second for every prompt's group and for a validation, three to train.
        ({"generations": 50, "wall_s": 25}, "wall_s", 3),
        ({"generations": 50, "tokens": 1500}, "tokens", 3),
    ],
)
def test_whatever_ends_first_ends_the_training_and_the_last_vector_is_judged(
    bench, budget, reason, last
):
    outcome = bench.run(grpo_job(budget=budget))
    assert reason in outcome.result.stop_reason
    assert outcome.result.generations < 6
    if last is not None:
        assert outcome.result.generations == last
        # The third is not due.
        assert bench.sink.of(ValidationEvent)[-1].generation == last


def test_a_target_met_by_the_warm_start_ends_it_before_the_first_step(bench):
    outcome = bench.run(grpo_job(budget={"generations": 6, "target_score": -10}))
    assert outcome.result.generations == 0
    assert bench.trainer.rollouts == []
    np.testing.assert_array_equal(outcome.vector, 0)


def test_records_hold_every_completion_of_a_group_and_who_made_it(bench, tmp_path):
    spec = grpo_job(budget={"generations": 2}, evaluation={"rollouts": "all"})
    with RunRecorder(tmp_path, spec.evaluation) as recorder:
        bench.run(spec, recorder=recorder)
    kept = {file.path.name: file.path for file in rollout_files(tmp_path)}
    assert {"train-000001.parquet", "validation-000000.parquet", "test.parquet"} < kept.keys()
    rows = pq.read_table(kept["train-000002.parquet"]).to_pylist()
    given = bench.trainer.rollouts[1]
    assert len(rows) == given.rewards_P_G.size
    for number, row in enumerate(rows):
        sample, prompt = divmod(number, 12)
        assert row["candidate"] == sample
        assert row["completion"] == given.completions[prompt][sample].text
        assert row["score"] == given.rewards_P_G[prompt, sample]
        assert row["components"] == {"doubled": 2 * row["score"]}
    works = {(one.kind, one.generation): one.spans for one in read_timeline(tmp_path)}
    (span,) = works["train", 2]
    # The first step: a validation and 12 prompts of half a second each, and the training.
    assert span.started_s == pytest.approx(0.5 + 6 + TRAIN_S + 0.25)
    # All weights of an adapter would be too much to keep.
    assert kept_generations(tmp_path) == []


def test_missing_scores_reach_the_trainer_as_missing_and_are_told(bench):
    def lose(rewards):
        rewards[2, 3] = np.nan
        rewards[5, :] = np.nan

    bench.run(grpo_job(), lose=lose)
    for one in bench.trainer.rollouts:
        assert np.isnan(one.rewards_P_G).sum() == 9
    event = bench.sink.of(StepEvent)[0]
    assert event.missing_scores == 9
    assert event.fitness[5] is None
    assert np.isfinite([event.mean, event.best, event.worst]).all()
    assert list(bench.warnings()) == ["missing_scores"]
    assert "spoilt on purpose (x9)" in bench.warnings()["missing_scores"]
