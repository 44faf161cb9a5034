"""The coordinator from end to end on a reward whose optimum is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from essa.coordinator.loop import RELIABILITY_FLOOR
from essa.coordinator.state import Preparation
from essa.errors import JobCancelledError, NonFiniteFitnessError
from essa.events import GenerationEvent, LadderEvent, ValidationEvent, WarningEvent, read_event
from tests.unit.essa.coordinator.coordinator_bench import DATA, DIMENSION, OPTIMUM, Bench, job, only


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def other_bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "other")


# -- searching ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["sep_cma_es", "cma_es", "openai_es", "snes", "random"])
def test_the_search_improves_on_the_warm_start(bench, kind):
    outcome = bench.run(job({"type": kind}, budget={"generations": 40}))
    test = outcome.result.test
    gain = test["aligned"].mean - test["warm_start"].mean
    best_gain = np.mean(OPTIMUM**2)
    assert gain > (0.3 if kind == "random" else 0.8) * best_gain
    np.testing.assert_array_equal(bench.evaluator.calls[-1].vectors_N_D[1], outcome.vector)


def test_all_candidates_share_the_prompts_of_a_generation_and_these_change(bench):
    bench.run(job())
    batches = [call for call in bench.evaluator.calls if call.label.startswith("generation")]
    assert len(batches) == 6
    assert all(call.vectors_N_D.shape == (8, DIMENSION) for call in batches)
    drawn = [tuple(row.index for row in call.rows) for call in batches]
    assert all(len(set(indices)) == 12 for indices in drawn)
    assert len({frozenset(indices) for indices in drawn}) == 6
    assert {index for indices in drawn for index in indices} <= set(range(100))


def test_the_generation_event_tells_what_happened(bench):
    bench.run(job())
    events = bench.sink.of(GenerationEvent)
    assert [event.generation for event in events] == list(range(1, 7))
    for event in events:
        assert event.best == max(event.fitness)
        assert event.worst == min(event.fitness)
        assert event.mean == pytest.approx(np.mean(event.fitness))
        assert event.components["doubled"] == pytest.approx(2 * event.mean)
        assert event.generated_tokens == 8 * 12 * 4
        assert event.tokens_per_s == 8 * 12 * 4 / 1.0
        assert (event.rollout_s, event.reward_s, event.missing_scores) == (1.0, 1.0, 0)
    assert events[0].distance == pytest.approx(events[0].step_norm)
    assert events[-1].eta_s == 0.0


def test_the_coordinators_own_time_leaves_validation_out(bench):
    bench.run(job(budget={"wall_s": 7.0}, evaluation={"every": 100}))
    # The last generation ends with a validation; only rollouts move this clock.
    assert "validation" in bench.labels()[-2]
    assert [event.coordinator_s for event in bench.sink.of(GenerationEvent)] == [0.0] * 3


# -- validation and test --------------------------------------------------------------------


def test_validation_scores_the_warm_start_and_the_mean_every_k_generations(bench):
    bench.run(job(budget={"generations": 7}, evaluation={"every": 3}))
    events = bench.sink.of(ValidationEvent)
    assert [event.generation for event in events] == [0, 3, 6, 7]
    scored = [call for call in bench.evaluator.calls if call.label == "validation"]
    np.testing.assert_array_equal(scored[0].vectors_N_D, np.zeros((1, DIMENSION)))
    assert all(call.rows == DATA.validation for call in scored)


def test_validation_picks_the_result(bench):
    peak = {"count": 0}

    def second_is_best(label, rewards):
        if label == "validation":
            peak["count"] += 1
            return rewards + (100.0 if peak["count"] == 3 else 0.0)
        return rewards

    outcome = bench.run(job(evaluation={"every": 1}), spoil=second_is_best)
    assert outcome.result.selected_generation == 2
    assert outcome.result.generations == 6
    scored = [call for call in bench.evaluator.calls if call.label == "validation"]
    np.testing.assert_array_equal(outcome.vector, scored[2].vectors_N_D[0])
    assert [event.is_best for event in bench.sink.of(ValidationEvent)] == (
        [True, True, True, False, False, False, False]
    )
    assert outcome.result.validation.mean > 90


def test_a_search_that_only_spoils_the_model_gives_the_warm_start_back(bench):
    falling = iter(range(0, 1000, 100))
    outcome = bench.run(
        job(),
        spoil=lambda label, rewards: rewards - (next(falling) if label == "validation" else 0),
    )
    assert outcome.result.selected_generation == 0
    np.testing.assert_array_equal(outcome.vector, np.zeros(DIMENSION))
    assert outcome.result.test["aligned"] == outcome.result.test["warm_start"]


def test_the_last_mean_is_validated_whatever_ended_the_search(bench):
    bench.run(job(budget={"wall_s": 7.0}, evaluation={"every": 100}))
    assert [event.generation for event in bench.sink.of(ValidationEvent)] == [0, 3]


def test_the_test_set_is_scored_once_at_the_end_for_base_warm_start_and_result(bench):
    outcome = bench.run(job())
    tested = [call for call in bench.evaluator.calls if call.rows == DATA.test]
    assert len(tested) == 1
    assert bench.evaluator.calls[-1] is tested[0]
    assert tested[0].with_base
    np.testing.assert_array_equal(tested[0].vectors_N_D, [np.zeros(DIMENSION), outcome.vector])
    result = outcome.result
    assert set(result.test) == {"base", "warm_start", "aligned"}
    assert result.test["base"].mean == pytest.approx(0.0, abs=0.2)
    assert result.test["aligned"].prompts == 30
    assert result.test["aligned"].components["doubled"] == pytest.approx(
        2 * result.test["aligned"].mean
    )
    sample = result.samples[1]
    assert (sample.base, sample.warm_start, sample.aligned) == (
        "answer 0 to 2006",
        "answer 1 to 2006",
        "answer 2 to 2006",
    )


def test_the_test_scores_decide_nothing(bench, other_bench):
    spec = job(evaluation={"every": 1})
    plain = bench.run(spec)
    turned = other_bench.run(spec, spoil=only("test", lambda rewards: -rewards))
    np.testing.assert_array_equal(turned.vector, plain.vector)
    assert turned.result.test["aligned"].mean == -plain.result.test["aligned"].mean
    assert other_bench.sink.events == bench.sink.events


def test_the_three_sets_never_meet(bench):
    bench.run(job({"sigma_init": "auto"}))
    train, validation, test = (
        {row.index for row in part} for part in (DATA.train, DATA.validation, DATA.test)
    )
    for call in bench.evaluator.calls:
        used = {row.index for row in call.rows}
        expected = {"validation": validation, "test": test}.get(call.label, train)
        assert used <= expected, call.label


# -- budgets --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("budget", "generations", "named"),
    [
        ({"generations": 4}, 4, "budget.generations 4"),
        # Two seconds an evaluation: the first validation, then generation and validation.
        ({"wall_s": 9.0}, 3, "budget.wall_s 9"),
        ({"tokens": 20 * 14 + 2 * 8 * 12 * 14}, 2, "budget.tokens"),
        ({"target_score": 0.5}, None, "budget.target_score 0.5"),
    ],
)
def test_each_budget_ends_the_search_and_there_is_a_result(bench, budget, generations, named):
    spec = job(budget={"generations": 100} | budget, evaluation={"every": 2})
    result = bench.run(spec).result
    assert named in result.stop_reason
    if generations is None:
        assert result.validation.mean >= 0.5
        assert result.selected_generation == result.generations < 100
    else:
        assert result.generations == generations


def test_the_target_waits_for_validation(bench):
    bench.run(job(budget={"generations": 50, "target_score": 0.0}, evaluation={"every": 5}))
    events = bench.sink.of(ValidationEvent)
    assert events[-1].generation % 5 == 0
    assert all(event.score < 0.0 for event in events[:-1])


@pytest.mark.parametrize(
    ("budget", "spent"),
    [({"target_score": -5.0}, {}), ({"wall_s": 60}, {"before": Preparation(100.0)})],
)
def test_a_budget_that_the_warm_start_exhausts_gives_the_warm_start(bench, budget, spent):
    outcome = bench.run(job(budget=budget), **spent)
    assert outcome.result.generations == 0
    assert bench.labels() == ["validation", "test"]
    np.testing.assert_array_equal(outcome.vector, np.zeros(DIMENSION))


# -- missing scores and noise ---------------------------------------------------------------


def test_a_few_missing_scores_are_told_and_the_search_goes_on(bench):
    def lose_some(label, rewards):
        if label.startswith("generation"):
            rewards[0, :2] = np.nan
            rewards[1, :6] = np.nan
        return rewards

    bench.run(job(), spoil=lose_some)
    for event in bench.sink.of(GenerationEvent):
        assert [fitness is None for fitness in event.fitness] == [False, True] + [False] * 6
        assert event.missing_scores == 8
    told = [event for event in bench.sink.of(WarningEvent) if event.code == "missing_scores"]
    assert len(told) == 1
    assert "spoilt on purpose (x8)" in told[0].message
    for event in bench.sink.of(GenerationEvent):
        assert read_event(event.model_dump_json()) == event


@pytest.mark.parametrize("kind", ["sep_cma_es", "openai_es"])
def test_a_generation_without_scores_ends_the_job_and_names_the_failure(bench, kind):
    spoil = only("generation 3", lambda rewards: np.full_like(rewards, np.nan))
    with pytest.raises(NonFiniteFitnessError, match=r"spoilt on purpose \(x96\)"):
        bench.run(job({"type": kind}), spoil=spoil)
    resumed = bench.run(job({"type": kind}))
    assert bench.labels()[0] == "generation 3"
    assert resumed.result.generations == 6


def test_broken_antithetic_pairs_name_the_failure_too(bench):
    def lose_one_of_each_pair(rewards):
        rewards[::2] = np.nan
        return rewards

    with pytest.raises(NonFiniteFitnessError, match=r"pairs.*spoilt on purpose \(x48\)"):
        bench.run(job({"type": "openai_es"}), spoil=only("generation 1", lose_one_of_each_pair))


def test_validation_without_scores_is_told_once_each_and_never_picked(bench):
    spoil = only("validation", lambda rewards: np.full_like(rewards, np.nan))
    outcome = bench.run(job(), spoil=spoil)
    codes = [event.code for event in bench.sink.of(WarningEvent)]
    assert codes.count("no_validation_score") == 4
    assert "spoilt on purpose (x20)" in bench.warnings()["no_validation_score"]
    assert outcome.result.validation is None
    assert outcome.result.selected_generation == 0


def test_missing_test_scores_are_counted(bench):
    def lose(rewards):
        rewards[2, :5] = np.nan
        return rewards

    result = bench.run(job(), spoil=only("test", lose)).result
    assert [result.test[name].missing for name in ("base", "warm_start", "aligned")] == [0, 0, 5]
    assert np.isfinite(result.test["aligned"].mean)


def test_flat_rewards_change_nothing_and_are_told(bench):
    outcome = bench.run(job(), spoil=lambda label, rewards: np.ones_like(rewards))
    assert "same fitness" in bench.warnings()["no_update"]
    np.testing.assert_array_equal(outcome.vector, np.zeros(DIMENSION))
    assert all(event.reliability is None for event in bench.sink.of(GenerationEvent))


def test_three_unreliable_generations_are_told_once_with_the_knobs(bench):
    noise = np.random.default_rng(0)

    def noise_only(label, rewards):
        return noise.standard_normal(rewards.shape)

    bench.run(job(budget={"generations": 12}), spoil=noise_only)
    reliable = [event.reliability >= RELIABILITY_FLOOR for event in bench.sink.of(GenerationEvent)]
    streaks = "".join("x" if is_good else "." for is_good in reliable).split("x")
    told = [event for event in bench.sink.of(WarningEvent) if event.code == "low_reliability"]
    assert len(told) == sum(len(streak) >= 3 for streak in streaks) > 0
    for knob in ("search.sigma_init", "batch_size", "auto"):
        assert knob in told[0].message


def test_a_reliable_search_is_not_warned_about(bench):
    bench.run(job(), pair_noise=0.0)
    assert bench.warnings() == {}


def test_the_streak_survives_a_resume(bench):
    noise = np.random.default_rng(0)

    def noise_then_cancel(label, rewards):
        if label == "generation 3":
            raise JobCancelledError("enough")
        return noise.standard_normal(rewards.shape)

    with pytest.raises(JobCancelledError):
        bench.run(job(), spoil=noise_then_cancel)
    assert all(event.reliability < 0.3 for event in bench.sink.of(GenerationEvent))
    assert "low_reliability" not in bench.warnings()
    flat = only("generation 3", lambda rewards: np.ones_like(rewards))
    bench.run(job(), spoil=flat)
    assert "low_reliability" in bench.warnings()


# -- the ladder in the loop -----------------------------------------------------------------


def test_auto_takes_its_step_from_the_ladder_and_counts_the_cost(bench):
    spec = job({"sigma_init": "auto", "ladder": {"sigmas": [0.01, 0.5, 20], "prompts": 16}})
    bench.run(spec)
    (ladder,) = bench.sink.of(LadderEvent)
    assert ladder.chosen_sigma == 0.5
    assert bench.sink.of(GenerationEvent)[0].sigma == pytest.approx(0.5, rel=0.5)
    assert len(bench.evaluator.calls[0].rows) == 16
    assert ladder.tokens == (3 * 12 + 1) * 16 * 14


def test_a_ladder_of_noise_is_warned_about(bench):
    noise = np.random.default_rng(0)
    spec = job({"sigma_init": "auto", "ladder": {"sigmas": [0.1, 0.2]}})
    bench.run(spec, spoil=lambda label, rewards: noise.standard_normal(rewards.shape))
    message = bench.warnings()["unreliable_ladder"]
    assert "batch_size" in message
    assert "search.ladder.sigmas" in message
