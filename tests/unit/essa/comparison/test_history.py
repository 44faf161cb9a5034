"""From events to curves, times to target, scores and costs, held against numbers by hand."""

from __future__ import annotations

import math
from dataclasses import astuple
from typing import Any

import pytest

from essa.comparison.costs import costs_over_seeds, run_costs
from essa.comparison.curves import band, best_so_far, value_at
from essa.comparison.history import AXES, Spent, read_history
from essa.comparison.scores import scores_on_test
from essa.comparison.spread import Spread, ratio_spread
from essa.comparison.target import over_seeds, time_to_target
from essa.events import ConstraintStatus, ScoreSummary, ServingScores, StageEvent
from tests.comparison_runs import (
    GIB,
    given_run,
    making_run,
    result,
    step,
    validation,
    warm_start,
)
from tests.narrowing import present


def test_the_warm_start_is_taken_out_and_shown_apart() -> None:
    run = read_history("essa", 0, making_run())
    # 10 s on two devices, 1000 tokens, 50 samples.
    assert run.warm_start == Spent(10.0, 20.0, 1000.0, 50.0)
    assert [point.score for point in run.points] == [0.3, 0.5, 0.8]
    # At 15, 20 and 30 s, minus 10 s; 100 tokens a second; a sample a second, fewer than 50.
    assert [point.spent for point in run.points] == [
        Spent(5.0, 10.0, 500.0, 0.0),
        Spent(10.0, 20.0, 1000.0, 0.0),
        Spent(20.0, 40.0, 2000.0, 0.0),
    ]
    # The result has 40 s on two devices and 4000 tokens.
    assert run.total == Spent(30.0, 60.0, 3000.0, 0.0)


def test_a_given_adapter_costs_nothing_and_reading_it_counts() -> None:
    run = read_history("grpo", 0, given_run(0.3, 0.6))
    assert run.warm_start is None
    assert [point.spent.wall_s for point in run.points] == [5.0, 25.0]


def test_a_job_without_a_warm_start_event_counts_everything() -> None:
    run = read_history("old", 0, [validation(0, 0.3, 15.0), validation(2, 0.5, 20.0)])
    assert run.warm_start is None
    assert [point.spent.wall_s for point in run.points] == [15.0, 20.0]
    assert run.result is None


def test_what_events_do_not_tell_stays_unknown() -> None:
    run = read_history("old", 0, [warm_start(), validation(0, 0.3, None)])
    assert run.points[0].spent == Spent(None, None, None, None)
    assert run.warm_start == Spent(10.0, None, 1000.0, 50.0)
    assert best_so_far(run, "wall_s").x == ()


def test_scores_that_are_no_numbers_are_left_out() -> None:
    events = [validation(0, 0.3, 1.0), validation(1, math.nan, 2.0), validation(2, 0.4, 3.0)]
    run = read_history("a", 0, events)
    assert [point.generation for point in run.points] == [0, 2]
    assert run.best == 0.4


def test_a_resumed_job_counts_a_repeated_generation_once() -> None:
    events = [
        StageEvent(stage="prepare_model"),
        warm_start(),
        validation(0, 0.3, 15.0),
        step(1, 20.0),
        validation(1, 0.5, 21.0),
        StageEvent(stage="prepare_model"),
        step(1, 22.0),
        validation(1, 0.5, 24.0),
        step(2, 30.0),
        # Seconds of the last start only: those of the events are more.
        result(0.7, 12.0),
    ]
    run = read_history("a", 0, events)
    assert [one.elapsed_s for one in run.generations] == [22.0, 30.0]
    assert [point.spent.wall_s for point in run.points] == [5.0, 14.0]
    assert run.total.wall_s == 20.0
    (cost,) = run_costs([run], "a")
    assert (cost.parts["rollout_s"], cost.parts["train_s"]) == (4.0, 1.0)


def test_a_clock_that_started_again_after_the_warm_start_has_nothing_of_it() -> None:
    # The job stopped between warm start and search: seconds begin at 0, tokens are read back.
    run = read_history("a", 0, [warm_start(), validation(0, 0.3, 4.0, tokens=1200)])
    assert run.points[0].spent.wall_s == 4.0
    assert run.points[0].spent.device_s == 8.0
    assert run.points[0].spent.tokens == 200.0
    assert run.warm_start is not None
    assert run.warm_start.wall_s == 10.0


# -- curves -----------------------------------------------------------------------------------


def test_the_best_score_so_far_holds_until_a_better_one() -> None:
    events = [validation(n, y, float(n)) for n, y in enumerate([0.3, 0.6, 0.5, 0.7])]
    steps = best_so_far(read_history("a", 0, events), "wall_s")
    assert (steps.x, steps.y) == ((0.0, 1.0, 3.0), (0.3, 0.6, 0.7))
    assert [value_at(steps, x) for x in (0.0, 0.9, 1.0, 2.5, 99.0)] == [0.3, 0.3, 0.6, 0.6, 0.7]
    assert math.isnan(value_at(steps, -1.0))
    # It has not ended, so that nothing is known beyond its last validation.
    assert steps.end == 3.0


def test_a_score_that_breaks_a_constraint_is_no_best() -> None:
    events = [validation(0, 0.9, 1.0, is_feasible=False), validation(1, 0.4, 2.0, is_feasible=True)]
    run = read_history("a", 0, events)
    assert run.best == 0.4
    assert best_so_far(run, "wall_s").y == (0.4,)


def test_the_band_is_over_the_stretch_that_all_seeds_cover() -> None:
    first = [*(validation(n, y, x) for n, x, y in ((0, 1, 0.2), (1, 4, 0.6))), result(0.6, 5.0)]
    known = ((0, 2, 0.3), (1, 3, 0.5), (2, 6, 0.8))
    second = [*(validation(n, y, x) for n, x, y in known), result(0.8, 7.0)]
    runs = [read_history("a", seed, events) for seed, events in enumerate((first, second))]
    found = band(runs, "wall_s")
    # The first has ended, so its 0.6 stays.
    assert found.x == (2.0, 3.0, 4.0, 6.0)
    assert found.low == (0.2, 0.2, 0.5, 0.6)
    assert found.high == (0.3, 0.5, 0.6, 0.8)
    assert found.mean == pytest.approx((0.25, 0.35, 0.55, 0.7))


def test_a_seed_that_has_not_ended_ends_the_band() -> None:
    whole = [validation(0, 0.2, 1.0), validation(1, 0.6, 8.0), result(0.6, 9.0)]
    broken = [validation(0, 0.4, 1.0), validation(1, 0.5, 3.0)]
    runs = [read_history("a", seed, events) for seed, events in enumerate((whole, broken))]
    found = band(runs, "wall_s")
    assert found.x == (1.0, 3.0)
    assert found.mean == pytest.approx((0.3, 0.35))


def test_a_seed_without_any_validation_does_not_hide_the_others() -> None:
    runs = [read_history("a", 0, making_run()), read_history("a", 1, [])]
    assert band(runs, "tokens").mean == (0.3, 0.5, 0.8)
    assert band([runs[1]], "tokens").x == ()


# -- time to target ---------------------------------------------------------------------------


def _two_seeds() -> list[Any]:
    return [
        read_history("essa", 0, making_run()),
        read_history("grpo", 0, given_run(0.3, 0.4, 0.75, 0.7)),
        read_history("essa", 1, given_run(0.3, 0.9, step_s=10.0)),
        read_history("grpo", 1, given_run(0.3, 0.6, 0.55)),
    ]


def test_the_target_is_the_best_of_the_reference_with_the_same_seed() -> None:
    found = {(one.arm, one.seed): one for one in time_to_target(_two_seeds(), "grpo")}
    assert {key: one.target for key, one in found.items()} == {
        ("essa", 0): 0.75, ("grpo", 0): 0.75, ("essa", 1): 0.6, ("grpo", 1): 0.6,
    }  # fmt: skip
    # essa reaches 0.75 with the 0.8 at 30 s, of which 10 s are the warm start; grpo at 45 s.
    essa = found["essa", 0]
    assert (essa.generation, essa.spent) == (2, Spent(20.0, 40.0, 2000.0, 0.0))
    assert found["grpo", 0].spent.wall_s == 45.0
    assert essa.ratio.wall_s == 45 / 20
    assert essa.ratio.tokens == 4500 / 2000
    # Samples that are nothing have no ratio.
    assert essa.ratio.samples is None
    assert found["grpo", 0].ratio.wall_s == 1.0
    # With seed 1: essa 0.9 at 15 s, grpo 0.6 at 25 s.
    assert found["essa", 1].ratio.wall_s == pytest.approx(25 / 15)


def test_over_seeds_costs_have_a_mean_and_ratios_a_geometric_one() -> None:
    essa, grpo = over_seeds(time_to_target(_two_seeds(), "grpo"))
    assert (essa.arm, essa.reached, essa.asked) == ("essa", 2, 2)
    assert essa.spent["wall_s"] == Spread(17.5, 15.0, 20.0, 2)
    assert present(essa.ratio["wall_s"]).mean == pytest.approx(math.sqrt(45 / 20 * 25 / 15))
    assert present(grpo.spent["wall_s"]).mean == 35.0
    assert present(ratio_spread([4.0, 9.0])).mean == pytest.approx(6.0)


def test_a_target_that_is_never_reached_is_not_reached_at_0() -> None:
    runs = [
        read_history("essa", 0, making_run()),
        read_history("grpo", 0, given_run(0.3, 0.95)),
        read_history("slow", 0, [validation(0, 0.1, 1.0)]),
    ]
    found = time_to_target(runs, "grpo")
    assert (found[0].generation, found[0].spent, found[0].ratio) == (None, Spent(), Spent())
    assert (found[0].is_final, found[2].is_final) == (True, False)
    assert over_seeds(found)[0].spent["wall_s"] is None


def test_a_seed_without_a_reference_has_no_target_unless_one_is_given() -> None:
    runs = [read_history("essa", 0, making_run()), read_history("grpo", 0, [])]
    assert time_to_target(runs, "grpo")[0].target is None
    (essa, _) = time_to_target(runs, "grpo", target=0.5)
    assert (essa.target, essa.generation, essa.spent.wall_s) == (0.5, 1, 10.0)
    assert essa.ratio == Spent()
    assert over_seeds(time_to_target(runs, "grpo"))[0].asked == 0


# -- scores and costs --------------------------------------------------------------------------


def test_test_scores_are_over_the_seeds_that_have_a_result() -> None:
    runs = [
        read_history("essa", 0, [result(0.6, 1.0)]),
        read_history("essa", 1, [result(0.9, 1.0)]),
        read_history("essa", 2, [validation(0, 0.3, 1.0)]),
        read_history("grpo", 0, []),
    ]
    found = scores_on_test(runs)
    assert [(one.arm, one.model) for one in found] == [
        ("essa", "base"), ("essa", "warm_start"), ("essa", "aligned"),
    ]  # fmt: skip
    assert astuple(present(found[2].score)) == pytest.approx((0.75, 0.6, 0.9, 2))
    assert found[2].ci95 == {0: pytest.approx((0.55, 0.65)), 1: pytest.approx((0.85, 0.95))}
    assert astuple(present(found[2].components["tone"])) == pytest.approx((0.375, 0.3, 0.45, 2))


def test_constraints_and_the_served_base_are_shown() -> None:
    def held(value: float) -> ConstraintStatus:
        return ConstraintStatus(
            component="length", direction="<=", threshold=0.5, value=value,
            violation=max(0.0, value - 0.5), is_held=value <= 0.5,
        )  # fmt: skip

    def scored(value: float) -> dict[str, ScoreSummary]:
        one = ScoreSummary(mean=0.5, ci95=(0.4, 0.6), prompts=9, constraints=[held(value)])
        return {"aligned": one}

    runs = []
    for seed, value in enumerate((0.4, 0.6)):
        serving = ServingScores(precision="bf16", test=scored(value))
        ended = result(0.5, 1.0, test=scored(value), serving=serving)
        runs.append(read_history("essa", seed, [ended]))
    plain, served = scores_on_test(runs)
    assert (plain.where, served.where) == (None, "bf16")
    (constraint,) = plain.constraints
    assert (constraint.name, constraint.held) == ("length <= 0.5", 1)
    assert astuple(present(constraint.value)) == pytest.approx((0.5, 0.4, 0.6, 2))


def test_costs_split_the_time_and_hold_memory_against_the_reference() -> None:
    runs = [
        read_history("essa", 0, making_run()),
        read_history("grpo", 0, given_run(0.3, 0.6)),
    ]
    essa, grpo = run_costs(runs, "grpo")
    assert essa.peak_bytes == 2 * GIB
    assert (essa.peak_ratio, grpo.peak_ratio) == (2.0, 1.0)
    # 30 s without the warm start, of which two generations of 3 s.
    assert essa.total["wall_s"] == 30.0
    assert essa.parts == {
        "rollout_s": 4.0, "reward_s": 0.5, "train_s": 1.0, "coordinator_s": 0.5,
    }  # fmt: skip
    assert essa.other_s == 24.0
    assert essa.answer_words == 3.0
    assert essa.shown == {"distance": 2.0, "kl": 0.02}
    assert essa.generated_tokens == 80.0


def test_a_run_that_has_not_ended_has_no_part_in_the_costs_over_seeds() -> None:
    runs = [read_history("a", 0, making_run()), read_history("a", 1, [validation(0, 0.1, 1.0)])]
    (arm,) = costs_over_seeds(run_costs(runs, "a"))
    assert present(arm.total["wall_s"]).count == 1
    (none,) = costs_over_seeds(run_costs([runs[1]], "a"))
    assert none.total == dict.fromkeys(AXES)
    assert none.peak_bytes is None
