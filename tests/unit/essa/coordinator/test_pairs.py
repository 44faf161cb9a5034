"""A search whose antithetic pairs have prompts of their own, from batch to result."""

from __future__ import annotations

import numpy as np
import pytest

from essa.coordinator.state import load_run
from essa.data import draw_batch
from essa.errors import JobCancelledError
from essa.events import GenerationEvent, LadderEvent
from essa.testing import ANSWER_TOKENS
from tests.narrowing import present
from tests.unit.essa.coordinator.coordinator_bench import DATA, DIGEST, Bench, cancel_at, job, only

PAIRS = {"type": "annealed_es", "population": 32, "sigma_init": 0.3, "radius": 2.0}


@pytest.fixture
def bench(tmp_path) -> Bench:
    return Bench(tmp_path)


def pairs_job(**parts):
    given = {"search": PAIRS, "budget": {"generations": 24}, "batch_size": 16} | parts
    return job(**given)


def test_it_finds_the_optimum_though_every_pair_has_another_prompt(bench):
    outcome = bench.run(pairs_job(), pair_noise=0.02)
    distance = np.abs(outcome.vector - bench.evaluator._optimum).mean()
    assert distance < 0.35
    scores = outcome.result.test
    assert scores["aligned"].mean > scores["warm_start"].mean + 0.7


def test_a_generation_costs_one_completion_a_candidate(bench):
    bench.run(pairs_job())
    (first, *_) = [call for call in bench.evaluator.calls if call.label == "generation 1"]
    assert (len(first.vectors_N_D), len(first.rows)) == (32, 16)
    event = bench.sink.of(GenerationEvent)[0]
    assert event.generated_tokens == 32 * ANSWER_TOKENS
    assert event.completions == 32
    assert event.informative_frac == 1.0
    assert event.reliability is None


def test_how_hard_prompts_are_is_no_part_of_fitness(bench):
    bench.run(pairs_job(budget={"generations": 1}), pair_noise=0.0)
    (event,) = bench.sink.of(GenerationEvent)
    fitness = np.array([present(value) for value in event.fitness])
    pairs = fitness.reshape(-1, 2)
    np.testing.assert_allclose(pairs.mean(axis=1), fitness.mean(), atol=1e-12)


def test_a_candidate_without_a_score_takes_its_partner_along_and_nobody_else(bench):
    def lose(rewards):
        rewards[6] = np.nan
        return rewards

    bench.run(pairs_job(budget={"generations": 1}), spoil=only("generation 1", lose))
    (event,) = bench.sink.of(GenerationEvent)
    assert [n for n, value in enumerate(event.fitness) if value is None] == [6]
    assert event.missing_scores == 1


def test_a_resumed_run_is_bit_equal_to_an_undisturbed_one(bench, tmp_path):
    spec = pairs_job(budget={"generations": 8})
    whole = bench.run(spec)
    other = Bench(tmp_path / "other")
    with pytest.raises(JobCancelledError):
        other.run(spec, spoil=cancel_at("generation 5"))
    resumed = other.run(spec)
    np.testing.assert_array_equal(resumed.vector, whole.vector)
    one, two = load_run(bench.checkpoint, DIGEST), load_run(other.checkpoint, DIGEST)
    assert present(one).completions == present(two).completions == 8 * 32


def test_the_ladder_asks_few_prompts_that_all_its_candidates_share(bench):
    search = {"type": "annealed_es", "population": 128, "sigma_init": "auto"}
    bench.run(pairs_job(search=search, batch_size=64, budget={"completions": 2000}))
    assert bench.sink.of(LadderEvent)
    rung = next(call for call in bench.evaluator.calls if call.label.startswith("step size"))
    assert len(rung.rows) == 32
    # Counted by the budget: the search ends with the generation nearest to it.
    last = bench.sink.of(GenerationEvent)[-1]
    assert abs(present(last.completions) - 2000) <= 64


def test_rows_are_taken_again_where_there_are_fewer_than_pairs():
    drawn = draw_batch(DATA.train, 250, seed=1, generation=3, repeats=True)
    counts = np.unique([row.index for row in drawn], return_counts=True)[1]
    assert (len(drawn), len(counts)) == (250, 100)
    assert set(counts) == {2, 3}


def test_a_search_in_which_candidates_hardly_differ_says_so(bench):
    bench.run(
        pairs_job(budget={"generations": 4}),
        spoil=lambda label, rewards: np.round(rewards * 0.01) if "gen" in label else rewards,
    )
    assert "low_information" in bench.warnings()
