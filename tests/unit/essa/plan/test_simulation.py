"""The simulated engines agree with what can be worked out, and lose nothing to failures."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from essa.errors import DataError
from essa.plan.engine_speed import EngineSpeed
from essa.plan.measured import EngineWork, engine_works, fit_speed, split_by, split_evenly
from essa.plan.simulation import Fleet, run_items, simulate
from essa.records.timeline import Work
from essa.types import WorkSpan

ONE_BY_ONE = Fleet(EngineSpeed(step_s=0.1, sequence_s=0.0, prompt_s=0.0), capacity=8)
"""Items of 8 sequences are done one after the other: with a second one there would be 16 > 10."""


def items(count: int, length: int = 10, rows: int = 8) -> list[tuple[int, ...]]:
    return [(length,) * rows] * count


def run(fleet: Fleet, engines: int, work: list[tuple[int, ...]], seed: int = 0):
    return run_items(fleet, engines, work, np.random.default_rng(seed))


@pytest.mark.parametrize("engines", [1, 3, 4, 10, 128])
def test_equal_items_on_equal_engines_take_whole_rounds(engines: int) -> None:
    found = run(ONE_BY_ONE, engines, items(10))
    assert found.seconds == pytest.approx(math.ceil(10 / engines) * 1.0)
    assert found.busy_s == pytest.approx(10.0)


def test_a_step_costs_its_base_and_every_sequence_and_prompts_come_on_top() -> None:
    fleet = Fleet(EngineSpeed(step_s=1.0, sequence_s=0.1, prompt_s=0.5), capacity=4)
    # Three prompts; two steps of three, then two of two, then one of one.
    found = run(fleet, 1, [(2, 4, 5)])
    assert found.seconds == pytest.approx(3 * 0.5 + 2 * 1.3 + 2 * 1.2 + 1.1)


def test_sequences_beyond_the_capacity_wait_until_one_ends() -> None:
    fleet = Fleet(EngineSpeed(step_s=1.0, sequence_s=0.0, prompt_s=0.0), capacity=2)
    assert run(fleet, 1, [(3, 5, 4)]).seconds == pytest.approx(7.0)


def test_an_engine_gets_the_next_item_before_it_has_ended_the_last() -> None:
    fleet = Fleet(EngineSpeed(step_s=1.0, sequence_s=0.0, prompt_s=0.0), capacity=8)
    uneven = [(2, 10)] * 5
    # Five items of two: 10 sequences are handed over at once, eight decoded, two take free places.
    assert run(fleet, 1, uneven).seconds == pytest.approx(12.0)


def test_population_that_engines_do_not_divide_leaves_a_tail() -> None:
    found = simulate(ONE_BY_ONE, 4, population=5, batch=8, lengths=[10])
    assert found.items == 5
    assert found.seconds[0] == pytest.approx(2.0)


def test_more_engines_than_candidates_split_the_prompts() -> None:
    alone = simulate(ONE_BY_ONE, 1, population=2, batch=64, lengths=[10])
    many = simulate(ONE_BY_ONE, 16, population=2, batch=64, lengths=[10])
    assert many.items == 16
    assert alone.seconds[0] / many.seconds[0] == pytest.approx(16.0)
    # Items have eight rows at least, so more engines have nothing to do.
    more = simulate(ONE_BY_ONE, 1024, population=2, batch=64, lengths=[10])
    assert more.seconds[0] == pytest.approx(many.seconds[0])


def test_uneven_lengths_cost_time_because_an_item_ends_with_its_longest_answer() -> None:
    given = {"population": 32, "batch": 8, "generations": 3}
    even = simulate(ONE_BY_ONE, 16, **given, lengths=[10])
    uneven = simulate(ONE_BY_ONE, 16, **given, lengths=[5, 15])
    assert even.seconds.tolist() == pytest.approx([2.0] * 3)
    # Of eight answers at least one is long, all but certainly; no item takes longer.
    assert uneven.seconds.tolist() == pytest.approx([3.0] * 3)


def test_a_slow_engine_gets_fewer_items() -> None:
    fleet = replace(ONE_BY_ONE, slowness=(1.0, 4.0))
    seed = next(s for s in range(99) if set(drawn_slowness(fleet, s)) == {1.0, 4.0})
    # 10 items, of which the slow engine does two while the other does eight.
    assert run(fleet, 2, items(10), seed).seconds == pytest.approx(8.0)


def drawn_slowness(fleet: Fleet, seed: int) -> list[float]:
    return np.random.default_rng(seed).choice(fleet.slowness, 2).tolist()


def test_failures_lengthen_a_generation_and_every_item_is_done_again() -> None:
    given = {"population": 50, "batch": 8, "lengths": [10], "generations": 5, "seed": 3}
    calm = simulate(ONE_BY_ONE, 4, **given)
    rough_fleet = replace(ONE_BY_ONE, failures_per_h=360.0, restart_s=2.0, max_retries=99)
    rough = simulate(rough_fleet, 4, **given)
    assert (calm.restarts, calm.missing, rough.missing) == (0, 0, 0)
    assert rough.restarts > 10
    assert (rough.seconds > calm.seconds).all()
    # The work of lost items comes on top of that of all items.
    assert rough.busy_s > calm.busy_s + 0.1 * rough.restarts


def test_an_item_that_is_blamed_too_often_is_missing() -> None:
    fleet = replace(ONE_BY_ONE, failures_per_h=1e6, restart_s=1.0, max_retries=2)
    found = run(fleet, 1, items(1))
    assert (found.missing, found.restarts) == (1, 3)


def test_a_generation_waits_until_a_lost_engine_is_back() -> None:
    fleet = replace(ONE_BY_ONE, failures_per_h=1800.0, restart_s=500.0)
    found = [run(fleet, 8, items(8), seed) for seed in range(10)]
    assert any(one.restarts for one in found)
    assert all((one.seconds > 500) == (one.restarts > 0) for one in found)


def test_the_same_seed_gives_the_same_generations_and_another_does_not() -> None:
    fleet = replace(ONE_BY_ONE, slowness=(0.9, 1.0, 1.2), failures_per_h=60.0)
    given = {"population": 20, "batch": 30, "lengths": [3, 9, 14, 30], "generations": 3}
    first, again, other = (simulate(fleet, 8, **given, seed=seed) for seed in (1, 1, 2))
    assert first.seconds.tolist() == again.seconds.tolist()
    assert first.seconds.tolist() != other.seconds.tolist()


def test_an_engine_that_is_given_work_late_is_taken_back_to_then() -> None:
    # Without failures, handing over at a landing elsewhere must not change what is under way.
    fleet = Fleet(EngineSpeed(1.0, 0.0, 0.0), capacity=8, failures_per_h=20.0, restart_s=1e4)
    found = [run(fleet, 2, [(40, 40), (40, 40)], seed) for seed in range(40)]
    lost_one = [one for one in found if one.restarts == 1]
    assert lost_one
    # The other engine had room: it took the lost item on at once, beside its own.
    assert all(one.seconds > 1e4 for one in lost_one)
    assert all(one.busy_s < 40 + 40 + 40 for one in lost_one)


SPEED = EngineSpeed(step_s=0.02, sequence_s=0.003, prompt_s=0.01)


def test_a_fit_finds_the_speed_that_made_the_timeline() -> None:
    fleet = Fleet(SPEED, capacity=32)
    rng = np.random.default_rng(0)
    works = []
    for rows, count in ((24, 16), (24, 3), (8, 1), (12, 6)):
        done = [tuple(rng.integers(5, 33, rows).tolist()) for _ in range(count)]
        works.append(EngineWork(tuple(done), run(fleet, 1, done).seconds, len(works)))
    found = fit_speed(works, 32)
    assert found.speed == pytest.approx(SPEED, rel=1e-6)
    assert found.residual < 1e-9
    assert found.slowness == pytest.approx([1.0] * 4)


def test_a_drift_of_the_machine_makes_no_engine_slow() -> None:
    done = tuple(items(4))
    alone_s = run(ONE_BY_ONE, 1, list(done)).seconds
    works = [
        EngineWork(done, drift * own * alone_s, number)
        for number, drift in enumerate((1.0, 1.5))
        for own in (0.9, 1.1)
    ]
    found = fit_speed(works, 8)
    assert found.slowness == pytest.approx([0.9, 1.1, 0.9, 1.1])
    assert found.residual > 0.15


def test_a_number_that_would_be_negative_is_zero() -> None:
    works = [EngineWork((((10,) * n),), 2.0, n) for n in (1, 8, 20)]
    found = fit_speed(works, 32)
    assert min(found.speed) == 0
    assert found.speed.step_s > 0


def test_items_are_read_from_a_timeline_by_candidate() -> None:
    spans = (
        WorkSpan(0, 1.0, 3.0, (0,), 40),
        WorkSpan(1, 1.0, 2.0, (0,), 41),
        WorkSpan(0, 0.5, 4.0, (1,), 30),
        WorkSpan(1, 2.0, 5.0, (1,), 20),
        WorkSpan(1, 5.0, 6.0, (), 0),
    )
    with_base = Work("validation", 1, (WorkSpan(0, 0.0, 1.0, (), 9), spans[0]))
    works = engine_works([Work("train", 1, spans), with_base], {"train": 20, "validation": 5})
    assert [work.seconds for work in works] == [3.5, 4.0]
    assert works[0].items == ((3,) * 10, (4,) * 10)
    assert works[1].items[0] == (5, *(4,) * 9)
    assert [sum(item) for item in works[1].items] == [41, 20]


def test_an_items_tokens_are_split_as_unevenly_as_answers_are() -> None:
    found = split_by(0.5, most=256)(2400, 24)
    assert sum(found) == pytest.approx(2400, rel=0.01)
    assert np.std(found) / np.mean(found) == pytest.approx(0.5, rel=0.1)
    assert max(found) <= 256
    # Where nothing is left to be uneven, and where it is not wanted.
    assert split_by(0.5, most=256)(2 * 256, 2) == (256, 256)
    assert split_by(0.0, most=256)(10, 4) == split_evenly(10, 4) == (3, 3, 2, 2)


def test_a_timeline_without_generations_cannot_be_fitted() -> None:
    with pytest.raises(DataError, match="no evaluation of a population"):
        fit_speed([], 8)
