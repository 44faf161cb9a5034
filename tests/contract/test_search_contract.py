"""What every registered search strategy must do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter

from essa.errors import NonFiniteFitnessError, SearchError, StateMismatchError
from essa.search.base import BudgetShare, SearchState, SearchStrategy
from essa.search.registry import STRATEGIES, make_search
from essa.spec.search import SearchSpec
from essa.storage.checkpoint import load_checkpoint, save_checkpoint
from essa.types import FloatArray

KINDS = sorted(STRATEGIES)
SHARE = BudgetShare(0.2, 0.25)
RANKED = sorted(set(KINDS) - {"annealed_es"})
"""Those that look at the order of candidates alone."""
ADAPTIVE = ["cma_es", "sep_cma_es", "snes"]

D, N = 10, 12
_adapter: TypeAdapter[Any] = TypeAdapter(SearchSpec)


def build(kind: str, *, dimension: int = D, seed: int = 3, **settings: Any) -> SearchStrategy:
    spec = _adapter.validate_python({"type": kind, "population": N, **settings})
    return make_search(spec, dimension, 0.5, seed, np.ones(dimension))


def sphere(x_N_D: FloatArray) -> FloatArray:
    return -np.sum(np.square(x_N_D), axis=-1)


def run(
    search: SearchStrategy,
    generations: int,
    fitness: Callable[[FloatArray], FloatArray] = sphere,
) -> SearchStrategy:
    for number in range(generations):
        share = BudgetShare(number / generations, (number + 1) / generations)
        search.tell(fitness(search.ask()), share)
    return search


def global_state() -> Any:
    """Numbers and place of the generator that all of a process share."""
    state: Any = np.random.get_state(legacy=True)
    return state[1:3]


def with_gaps(x_N_D: FloatArray) -> FloatArray:
    """A coarse sphere at any scale: ties in most generations, and one missing candidate."""
    fitness = np.round(-10 * np.log10(-sphere(x_N_D))).astype(np.float64)
    fitness[4] = np.nan
    return fitness


def assert_same_state(one: SearchState, other: SearchState) -> None:
    assert one.to_meta() == other.to_meta()
    assert one.arrays.keys() == other.arrays.keys()
    for name, value in one.arrays.items():
        np.testing.assert_array_equal(value, other.arrays[name], err_msg=name)


def test_every_type_of_the_specification_has_a_strategy() -> None:
    types = _adapter.json_schema()["discriminator"]["mapping"]
    assert set(types) == set(STRATEGIES)


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_search_stands_at_its_center(kind: str) -> None:
    search = build(kind)
    np.testing.assert_array_equal(search.mean, np.ones(D))
    assert search.sigma == pytest.approx(0.5, rel=1e-4)
    assert (search.kind, search.dimension, search.population) == (kind, D, N)
    candidates = search.ask()
    assert candidates.shape == (N, D)
    assert candidates.dtype == np.float64
    assert np.std(candidates - 1.0) == pytest.approx(0.5, rel=0.25)


@pytest.mark.parametrize(
    ("kind", "remaining"),
    [
        ("annealed_es", 0.5),
        ("cma_es", 1e-3),
        ("openai_es", 0.2),
        ("random", 0.8),
        ("sep_cma_es", 1e-3),
        ("snes", 1e-2),
    ],
)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_sphere_shrinks_to_a_share_of_its_start_in_600_candidates(
    kind: str, remaining: float, seed: int
) -> None:
    search = run(build(kind, seed=seed), 50)
    assert sphere(search.mean) > remaining * sphere(np.ones(D))


@pytest.mark.parametrize("kind", ADAPTIVE)
def test_adaptive_strategies_solve_an_ill_conditioned_quadratic(kind: str) -> None:
    scales = np.logspace(0, 4, D)
    search = run(build(kind, sigma_min=0), 600, lambda x_N_D: -np.square(x_N_D) @ scales)
    assert np.square(search.mean) @ scales < 1e-6
    assert search.axis_ratio is not None
    assert search.axis_ratio > 10


@pytest.mark.parametrize("kind", ADAPTIVE)
def test_sigma_does_not_fall_below_its_floor(kind: str) -> None:
    search = run(build(kind, sigma_min=0.05), 150)
    assert 0.05 <= search.sigma * (1 + 1e-9) < 0.1


@pytest.mark.parametrize("kind", RANKED)
def test_a_monotone_transform_of_fitness_changes_nothing(kind: str) -> None:
    plain = run(build(kind), 15)
    bent = run(build(kind), 15, lambda x_N_D: np.arctan(sphere(x_N_D) / 10) * 7 + 2)
    assert_only_best_differs(plain.state(), bent.state())


def assert_only_best_differs(one: SearchState, other: SearchState) -> None:
    one.scalars.pop("best", None)
    other.scalars.pop("best", None)
    assert_same_state(one, other)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("missing", [0, 3])
def test_equal_fitness_leaves_mean_and_sigma_alone(kind: str, missing: int) -> None:
    search = run(build(kind), 2)
    mean, sigma = search.mean, search.sigma
    first = search.ask()
    fitness = np.full(N, 0.25)
    fitness[:missing] = np.nan
    report = search.tell(fitness, SHARE)
    assert (report.updated, report.step_norm) == (False, 0.0)
    assert "same fitness" in report.reason
    np.testing.assert_array_equal(search.mean, mean)
    assert search.sigma == sigma
    assert not np.array_equal(search.ask(), first)
    assert search.tell(sphere(search.ask()), SHARE).updated or kind == "random"


@pytest.mark.parametrize("kind", KINDS)
def test_the_report_gives_the_length_of_the_step(kind: str) -> None:
    search = build(kind)
    report = search.tell(sphere(search.ask()), SHARE)
    assert report.updated
    assert report.reason == ""
    assert report.step_norm == pytest.approx(np.linalg.norm(search.mean - 1.0))
    assert report.step_norm > 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("gap", [np.nan, np.inf, -np.inf])
def test_a_missing_candidate_has_no_influence(kind: str, gap: float) -> None:
    """The mean stays in the span of the others: it cannot move along what only this one tried."""
    settings = {"optimizer": "sgd"} if kind == "openai_es" else {}
    search = build(kind, dimension=30, seed=5, **settings)
    asked = search.ask()
    fitness = sphere(asked)
    lost = int(np.argmax(fitness))
    fitness[lost] = gap
    search.tell(fitness, SHARE)
    others = np.delete(asked, [lost, lost ^ 1] if search.antithetic else lost, axis=0) - 1.0
    moved = search.mean - 1.0
    solution, *_ = np.linalg.lstsq(others.T, moved, rcond=None)
    np.testing.assert_allclose(others.T @ solution, moved, atol=1e-9)
    assert np.linalg.norm(moved) > 0


@pytest.mark.parametrize("kind", KINDS)
def test_too_few_scores_raise_and_the_same_candidates_can_be_told_again(kind: str) -> None:
    search, undisturbed = run(build(kind), 2), run(build(kind), 2)
    asked = search.ask()
    lonely = np.full(N, np.nan)
    lonely[3] = 1.0
    with pytest.raises(NonFiniteFitnessError, match=r"1 of 12|0 of 12"):
        search.tell(lonely, SHARE)
    np.testing.assert_array_equal(search.ask(), asked)
    search.tell(sphere(asked), SHARE)
    undisturbed.tell(sphere(undisturbed.ask()), SHARE)
    assert_same_state(search.state(), undisturbed.state())


@pytest.mark.parametrize("kind", ADAPTIVE)
def test_a_tie_moves_the_mean_halfway_between_its_two_orders(kind: str) -> None:
    def mean_where_candidate_8_has(fitness: float) -> FloatArray:
        search = build(kind)
        search.ask()
        search.tell(np.where(np.arange(N) == 8, fitness, np.arange(N, dtype=float)), SHARE)
        return search.mean

    above, below = mean_where_candidate_8_has(9.5), mean_where_candidate_8_has(8.5)
    assert not np.allclose(above, below, atol=1e-6)
    tied = mean_where_candidate_8_has(9.0)
    np.testing.assert_allclose(tied, (above + below) / 2, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_tell_does_not_modify_its_input(kind: str) -> None:
    search = build(kind)
    fitness = with_gaps(search.ask())
    before = fitness.copy()
    search.tell(fitness, SHARE)
    np.testing.assert_array_equal(fitness, before)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_handed_out_is_a_copy(kind: str) -> None:
    search, untouched = run(build(kind), 2), run(build(kind), 2)
    search.ask()[:] = 7.0
    search.mean[:] = 7.0
    for array in search.state().arrays.values():
        array[...] = 7.0
    run(search, 2)
    run(untouched, 2)
    assert_same_state(search.state(), untouched.state())


@pytest.mark.parametrize("kind", KINDS)
def test_ask_repeats_itself_until_told(kind: str) -> None:
    search = build(kind)
    np.testing.assert_array_equal(search.ask(), search.ask())


@pytest.mark.parametrize("kind", KINDS)
def test_tell_needs_an_ask_and_one_score_per_candidate(kind: str) -> None:
    search = build(kind)
    with pytest.raises(SearchError, match="ask"):
        search.tell(np.zeros(N), SHARE)
    search.ask()
    with pytest.raises(SearchError, match=r"search\.population is 12"):
        search.tell(np.zeros(N - 1), SHARE)


@pytest.mark.parametrize("kind", KINDS)
def test_the_seed_decides_everything(kind: str) -> None:
    np.random.seed(0)
    before = global_state()
    one = run(build(kind, seed=8), 4, with_gaps)
    after = global_state()
    np.testing.assert_array_equal(before[0], after[0])
    assert before[1] == after[1]
    np.random.seed(99)
    assert_same_state(one.state(), run(build(kind, seed=8), 4, with_gaps).state())
    assert not np.array_equal(one.ask(), run(build(kind, seed=9), 4, with_gaps).ask())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dimension", [7, 60])
@pytest.mark.parametrize("before", [0, 3, 40])
@pytest.mark.parametrize("unanswered", [False, True])
def test_resuming_from_a_file_equals_never_stopping(
    kind: str, dimension: int, before: int, unanswered: bool, tmp_path: Any
) -> None:
    whole = run(build(kind, dimension=dimension), before, with_gaps)
    if unanswered:
        whole.ask()
    state = whole.state()
    save_checkpoint(tmp_path / "search", state.arrays, {"search": state.to_meta()})
    run(whole, 3, with_gaps)

    arrays, meta = load_checkpoint(tmp_path / "search")
    resumed = build(kind, dimension=dimension, seed=777)
    resumed.restore(SearchState.from_parts(arrays, meta["search"]))
    assert_same_state(resumed.state(), state)
    run(resumed, 3, with_gaps)
    assert_same_state(resumed.state(), whole.state())
    np.testing.assert_array_equal(resumed.ask(), whole.ask())


@pytest.mark.parametrize("kind", KINDS)
def test_a_search_can_be_taken_back_to_an_earlier_state(kind: str) -> None:
    search = run(build(kind), 3)
    earlier = search.state()
    first = run(search, 4).state()
    search.restore(earlier)
    assert_same_state(run(search, 4).state(), first)


@pytest.mark.parametrize("kind", KINDS)
def test_a_state_of_another_search_is_refused_and_changes_nothing(kind: str) -> None:
    search = run(build(kind), 2)
    before = search.state()
    other_kind = next(other for other in KINDS if other != kind)
    with pytest.raises(StateMismatchError, match=f"kind {other_kind}"):
        search.restore(build(other_kind).state())
    with pytest.raises(StateMismatchError, match="dimension 9"):
        search.restore(build(kind, dimension=9).state())
    with pytest.raises(StateMismatchError, match="population 4"):
        search.restore(build(kind, population=4).state())
    assert_same_state(search.state(), before)


@pytest.mark.parametrize("kind", KINDS)
def test_an_incomplete_state_is_refused_and_changes_nothing(kind: str) -> None:
    search = run(build(kind), 2)
    before = search.state()
    for name in before.arrays:
        damaged = search.state()
        del damaged.arrays[name]
        with pytest.raises(StateMismatchError, match=name):
            search.restore(damaged)
    for name in before.scalars:
        damaged = search.state()
        del damaged.scalars[name]
        with pytest.raises(StateMismatchError, match=name):
            search.restore(damaged)
    with pytest.raises(StateMismatchError, match="scalars"):
        SearchState.from_parts({}, {"kind": kind, "dimension": D, "population": N})
    assert_same_state(search.state(), before)


@pytest.mark.parametrize("kind", KINDS)
def test_sigma_that_is_not_positive_is_refused(kind: str) -> None:
    spec = _adapter.validate_python({"type": kind, "population": N})
    for sigma in (0.0, -1.0, np.nan, np.inf):
        with pytest.raises(SearchError, match="sigma_init"):
            make_search(spec, D, sigma, 1)
    with pytest.raises(SearchError, match="center"):
        make_search(spec, D, 1.0, 1, np.zeros(D + 1))
