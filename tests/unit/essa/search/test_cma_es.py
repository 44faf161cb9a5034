"""The pycma adapter: what is pinned, and that ties and gaps leave pycma sound."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from essa.errors import SpecError, StateMismatchError
from essa.search.base import SearchStart
from essa.search.cma_es import CmaEs, SepCmaEs, import_cma

cma = import_cma()
CMAAdaptSigmaCSA = cma.sigma_adaptation.CMAAdaptSigmaCSA
BOTH = pytest.mark.parametrize("strategy", [CmaEs, SepCmaEs])


def start(dimension: int = 6, population: int = 10, **changes: object) -> SearchStart:
    return SearchStart(dimension, population, 0.5, 4, np.ones(dimension), **changes)


@BOTH
def test_without_ties_the_update_is_pycmas_own(strategy: type) -> None:
    search = strategy(start())
    rng = np.random.Generator(np.random.PCG64(4))
    plain = cma.CMAEvolutionStrategy(
        np.ones(6),
        0.5,
        {
            "popsize": 10,
            "CMA_diagonal": strategy.diagonal,
            "AdaptSigma": CMAAdaptSigmaCSA,
            "CMA_mirrors": 0,
            "randn": lambda *shape: rng.standard_normal(shape),
            "seed": np.nan,
            "verbose": -9,
        },
    )
    for _ in range(30):
        candidates = plain.ask()
        plain.tell(candidates, [float(np.sum(x**4)) for x in candidates])
        asked = search.ask()
        np.testing.assert_array_equal(asked, candidates)
        search.tell(-np.sum(asked**4, axis=1))
    np.testing.assert_array_equal(search.mean, plain.mean)
    assert search.sigma == pytest.approx(np.exp(np.mean(np.log(plain.stds))), rel=1e-12)


@BOTH
def test_the_mean_goes_a_share_of_the_way_and_the_step_size_is_the_same(strategy: type) -> None:
    whole, part = strategy(start()), strategy(start(), learning_rate_mean=0.25)
    for search in (whole, part):
        search.tell(-np.sum(search.ask() ** 4, axis=1))
    np.testing.assert_allclose(part.mean - 1, 0.25 * (whole.mean - 1), rtol=1e-12)
    assert part.sigma == pytest.approx(whole.sigma, rel=1e-12)


def luck_with_ties_and_a_gap(luck: np.random.Generator) -> np.ndarray:
    fitness = luck.integers(0, 3, 12).astype(float)
    fitness[luck.integers(12)] = np.nan
    return fitness


def mean_log_sigma(strategy: type, draw: Callable[[np.random.Generator], np.ndarray]) -> float:
    """Where sigma, starting at 1, stands after 60 generations of pure luck, over 20 seeds."""
    ends = []
    for seed in range(20):
        search = strategy(SearchStart(30, 12, 1.0, seed))
        luck = np.random.default_rng(seed)
        for _ in range(60):
            search.ask()
            search.tell(draw(luck))
        ends.append(np.log(search.sigma))
    return float(np.mean(ends))


@BOTH
@pytest.mark.parametrize(
    "draw",
    [luck_with_ties_and_a_gap, lambda luck: np.eye(12)[luck.integers(12)]],
    ids=["three levels and a gap", "one best among equals"],
)
def test_ties_and_gaps_without_signal_drive_sigma_no_further_than_luck(
    strategy: type, draw: Callable[[np.random.Generator], np.ndarray]
) -> None:
    """One standard error of each side is about 0.08; a wrong mu_eff shifts the mean by about 1."""
    plain = mean_log_sigma(strategy, lambda luck: luck.standard_normal(12))
    assert mean_log_sigma(strategy, draw) == pytest.approx(plain, abs=0.3)


@BOTH
def test_coarse_fitness_with_gaps_still_finds_the_optimum(strategy: type) -> None:
    search = strategy(start())
    for generation in range(150):
        asked = search.ask()
        fitness = np.round(-4 * np.log(np.sum(asked**2, axis=1)))
        fitness[generation % 10] = np.nan
        search.tell(fitness)
    assert np.sum(search.mean**2) < 1e-8


@BOTH
def test_many_flat_generations_neither_stop_nor_grow_the_search(strategy: type) -> None:
    search = strategy(start())
    before = search.state()
    for _ in range(200):
        search.ask()
        assert not search.tell(np.zeros(10)).updated
    assert len(search._es.sent_solutions) == 0
    after = search.state()
    for name, value in before.arrays.items():
        np.testing.assert_array_equal(after.arrays[name], value)


@pytest.mark.parametrize("dimension", [10, 400])
def test_the_step_size_rule_does_not_depend_on_the_dimension(dimension: int) -> None:
    search = SepCmaEs(start(dimension))
    assert isinstance(search._es.adapt_sigma, CMAAdaptSigmaCSA)
    assert search._es.opts["CMA_mirrors"] == 0


def test_negative_weights_keep_covariance_positive_definite_under_ties() -> None:
    search = CmaEs(start(dimension=3, population=8))
    luck = np.random.default_rng(1)
    for _ in range(300):
        search.ask()
        search.tell(luck.integers(0, 2, 8).astype(float))
    assert np.linalg.eigvalsh(search.state().arrays["covariance"]).min() > 0


@BOTH
def test_resuming_at_the_floor_of_sigma_equals_never_stopping(strategy: type) -> None:
    """There pycma keeps part of the step size in its coordinate scaling."""
    whole, resumed = (strategy(start(), sigma_min=0.3) for _ in range(2))
    for _ in range(40):
        whole.tell(-np.sum(whole.ask() ** 2, axis=1))
    assert whole.sigma == pytest.approx(0.3, rel=0.2)
    assert whole.state().arrays["scaling"].shape == (6,)
    resumed.restore(whole.state())
    for _ in range(3):
        for search in (whole, resumed):
            search.tell(-np.sum(search.ask() ** 2, axis=1))
    np.testing.assert_array_equal(resumed.ask(), whole.ask())


@BOTH
def test_a_state_of_another_pycma_is_refused(strategy: type) -> None:
    search = strategy(start())
    state = search.state()
    state.scalars["cma"] = "3.0.0"
    with pytest.raises(StateMismatchError, match=r"cma 3\.0\.0"):
        search.restore(state)


@BOTH
def test_a_scaling_of_the_wrong_shape_is_refused(strategy: type) -> None:
    search = strategy(start())
    state = search.state()
    state.arrays["scaling"] = np.ones(5)
    with pytest.raises(StateMismatchError, match="scaling"):
        search.restore(state)


@BOTH
def test_settings_pycma_cannot_run_are_named(strategy: type) -> None:
    for broken, field in (
        (start(population=2), "search.population"),
        (start(dimension=1), "search.alpha"),
    ):
        with pytest.raises(SpecError) as caught:
            strategy(broken)
        assert caught.value.detail["field"] == field
    with pytest.raises(SpecError, match="sigma_min"):
        strategy(start(), sigma_min=0.6)


@BOTH
@pytest.mark.parametrize("population", [3, 4, 5])
def test_small_populations_work(strategy: type, population: int) -> None:
    search = strategy(SearchStart(4, population, 0.5, 1, np.ones(4)))
    for _ in range(150):
        search.tell(-np.sum(search.ask() ** 2, axis=1))
    assert np.sum(search.mean**2) < 0.04


def test_a_run_prints_nothing_writes_nothing_and_importing_is_light(tmp_path: Path) -> None:
    script = """
import sys
import essa.search.registry
assert "cma" not in sys.modules
from essa.spec.search import CmaEsSpec
search = essa.search.registry.make_search(CmaEsSpec(population=5), 4, 0.5, 1)
for _ in range(20):
    search.tell(-(search.ask() ** 2).sum(axis=1))
"""
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []
