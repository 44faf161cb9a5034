"""When a search ends, and how long it may still take."""

from __future__ import annotations

import pytest

from essa.coordinator.state import RunState, Used
from essa.coordinator.stopping import budget_frac, eta_s, stop_reason
from essa.spec import BudgetSpec

ALL = BudgetSpec(generations=10, wall_s=60, tokens=1000, target_score=0.8)


def state(**progress) -> RunState:
    return RunState(basis_digest="", **progress)


def test_within_the_budget_it_goes_on():
    progress = state(generation=9, elapsed_s=59.9, tokens=999)
    assert stop_reason(ALL, progress, 0.79) == ""
    assert stop_reason(ALL, progress, None) == ""


@pytest.mark.parametrize(
    ("progress", "score", "setting"),
    [
        ({"generation": 10}, None, "budget.generations 10"),
        ({"elapsed_s": 60.0}, None, "budget.wall_s 60"),
        ({"tokens": 1000}, None, "budget.tokens 1000"),
        ({}, 0.8, "budget.target_score 0.8"),
    ],
)
def test_each_limit_stops_and_is_named(progress, score, setting):
    assert setting in stop_reason(ALL, state(**progress), score)


def test_a_warm_start_uses_up_the_budget_unless_it_is_left_out():
    progress = state(elapsed_s=90.0, warm_start_s=40.0, tokens=1500, warm_start_tokens=600)
    after = ALL.model_copy(update={"after_warm_start": True})
    assert "wall_s" in stop_reason(ALL, progress, None)
    assert stop_reason(after, progress, None) == ""
    assert eta_s(after, progress, generation_s=30.0) == 10.0
    progress.elapsed_s = 100.0
    assert "wall_s" in stop_reason(after, progress, None)
    progress.elapsed_s, progress.tokens = 90.0, 1600
    assert "tokens" in stop_reason(after, progress, None)


def test_the_search_ends_with_the_generation_nearest_to_a_budget_of_completions():
    budget = BudgetSpec(completions=1000, generations=50)
    start = Used(completions=100)
    near = state(generation=2, completions=100 + 2 * 300, at_start=start)
    assert stop_reason(budget, near, None) == ""
    nearest = state(generation=3, completions=100 + 3 * 300, at_start=start)
    assert stop_reason(budget, nearest, None) == "budget.completions 1000 used up"
    # One more of 400 would end further beyond 1000 than this one ends before it.
    over = state(generation=2, completions=100 + 2 * 400, at_start=start)
    assert stop_reason(budget, over, None) == "budget.completions 1000 used up"


def test_the_share_of_the_budget_is_that_of_the_nearest_limit():
    budget = BudgetSpec(generations=10, wall_s=60, tokens=1000)
    progress = state(generation=2, tokens=500)
    assert budget_frac(budget, progress, 15.0) == 0.5
    assert budget_frac(budget, progress, 45.0) == 0.75
    assert budget_frac(budget, state(generation=9), 0.0) == 0.9
    assert budget_frac(budget, progress, 100.0) == 1.0


def test_what_came_before_the_first_generation_is_no_part_of_its_share():
    budget = BudgetSpec(generations=100, wall_s=60, completions=1000)
    start = Used(seconds=20.0, completions=200)
    progress = state(completions=600, at_start=start)
    assert budget_frac(budget, progress, 20.0) == 0.5
    assert budget_frac(budget, progress, 50.0) == 0.75


def test_a_longer_budget_leaves_a_smaller_share_behind():
    progress = state(generation=10)
    assert budget_frac(BudgetSpec(generations=10), progress, 0.0) == 1.0
    assert budget_frac(BudgetSpec(generations=40), progress, 0.0) == 0.25


def test_the_target_is_named_where_several_limits_meet():
    reason = stop_reason(ALL, state(generation=10, elapsed_s=61, tokens=2000), 0.9)
    assert "target_score" in reason


def test_limits_that_are_not_set_never_stop():
    budget = BudgetSpec(generations=10)
    assert stop_reason(budget, state(generation=9, elapsed_s=1e9, tokens=10**12), 1e9) == ""


def test_a_target_may_be_zero_or_negative():
    assert stop_reason(BudgetSpec(target_score=0.0), state(), 0.0)
    assert stop_reason(BudgetSpec(target_score=-1.0), state(), -0.5)
    assert not stop_reason(BudgetSpec(target_score=0.0), state(), -0.1)


@pytest.mark.parametrize(
    ("progress", "generation_s", "left_s"),
    [
        ({"generation": 4, "elapsed_s": 20}, 5.0, 30.0),
        ({"generation": 4, "elapsed_s": 45}, 5.0, 15.0),
        ({"generation": 10, "elapsed_s": 50}, 5.0, 0.0),
        ({"generation": 4, "elapsed_s": 70}, 5.0, 0.0),
    ],
)
def test_the_estimate_ends_with_the_nearest_limit(progress, generation_s, left_s):
    assert eta_s(ALL, state(**progress), generation_s) == left_s
