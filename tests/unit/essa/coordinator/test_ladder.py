"""The step-size probe, on landscapes whose best step is known."""

from __future__ import annotations

import numpy as np
import pytest

from essa.coordinator.ladder import DEFAULT_SIGMAS, RULE, choose_rung, probe_ladder
from essa.errors import NonFiniteFitnessError
from essa.events import LadderRung
from essa.objective.objective import RewardObjective
from essa.spec import LadderSpec
from essa.testing import ANSWER_TOKENS, PROMPT_TOKENS, QuadraticEvaluator
from essa.types import Row
from tests.narrowing import present

DIMENSION = 16
ROWS = [Row(index, f"prompt {index}") for index in range(32)]
OPTIMUM = np.full(DIMENSION, 3.0)
"""From here one generation gains 1.5 sigma - sigma^2, at the most at sigma 0.75."""
SIGMAS = (0.001, 0.003, 0.01, 0.03, 0.3, 1.0, 3.0, 10.0, 30.0)
"""At the first four the text noise drowns everything, from 3 on the model is broken."""


def noisy(**settings) -> QuadraticEvaluator:
    return QuadraticEvaluator(OPTIMUM, pair_noise=2.0, **settings)


def probe(evaluator, *, seed=0, sigmas=SIGMAS, candidates=12, target="factors", on_rung=None):
    return probe_ladder(
        evaluator,
        RewardObjective(max_missing_frac=0.25),
        ROWS,
        dimension=DIMENSION,
        spec=LadderSpec(sigmas=sigmas, candidates=candidates),
        target=target,
        seed=seed,
        on_rung=on_rung or (lambda done, total: None),
    )


@pytest.mark.parametrize("seed", range(12))
def test_it_climbs_over_rungs_of_noise_and_picks_a_step_that_gains(seed):
    outcome = probe(noisy(), seed=seed)
    assert outcome.sigma in (0.3, 1.0)
    assert present(outcome.reliability) > 0.3
    assert outcome.event.chosen_sigma == outcome.sigma


@pytest.mark.parametrize("seed", range(12))
def test_it_begins_a_third_of_the_way_up_and_stops_at_the_first_step_that_costs(seed):
    outcome = probe(noisy(), seed=seed)
    tried = [rung.sigma for rung in outcome.event.rungs]
    assert tried == list(SIGMAS[2 : 2 + len(tried)])
    assert tried[-2] == outcome.sigma
    assert 10.0 not in tried


@pytest.mark.parametrize("seed", range(12))
def test_where_it_begins_too_high_it_goes_down(seed):
    outcome = probe(noisy(), sigmas=(0.1, 0.3, 1.0, 10.0, 30.0, 100.0, 300.0), seed=seed)
    assert outcome.sigma in (0.3, 1.0)
    broken = probe(noisy(), sigmas=(0.1, 0.3, 10.0, 30.0, 100.0, 300.0, 1000.0), seed=seed)
    assert [rung.sigma for rung in broken.event.rungs] == [0.3, 10.0]
    assert broken.sigma == 0.3


def test_a_warm_start_that_looked_good_by_luck_rejects_no_step():
    def lucky(label, rewards):
        return np.vstack([rewards[:1] + 20, rewards[1:]]) if len(rewards) == 13 else rewards

    outcome = probe(noisy(spoil=lucky))
    assert [rung.sigma for rung in outcome.event.rungs][:2] == [0.003, 0.01]
    assert outcome.sigma in (0.3, 1.0)


def test_where_no_step_costs_it_climbs_to_the_top():
    far = QuadraticEvaluator(np.full(DIMENSION, 1e3), pair_noise=1.0)
    outcome = probe(far)
    assert [rung.sigma for rung in outcome.event.rungs] == list(SIGMAS[2:])
    assert outcome.sigma == SIGMAS[-1]


def test_rungs_share_their_directions_and_the_first_carries_the_warm_start():
    evaluator = noisy()
    probe(evaluator)
    first = evaluator.calls[0].vectors_N_D
    np.testing.assert_array_equal(first[0], np.zeros(DIMENSION))
    directions = first[1:] / SIGMAS[2]
    assert len(directions) == 12
    assert directions.std() == pytest.approx(1.0, abs=0.2)
    for call, sigma in zip(evaluator.calls[1:], SIGMAS[3:], strict=False):
        np.testing.assert_allclose(call.vectors_N_D, sigma * directions)
        assert call.rows == evaluator.calls[0].rows


def test_the_directions_follow_the_seed():
    drawn = []
    for seed in (1, 1, 2):
        evaluator = noisy()
        probe(evaluator, seed=seed)
        drawn.append(evaluator.calls[0].vectors_N_D)
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert not np.allclose(drawn[0], drawn[2])


def test_the_event_tells_the_table_the_rule_and_the_cost():
    progress = []
    event = probe(noisy(), on_rung=lambda done, total: progress.append((done, total))).event
    assert event.rule == RULE
    assert event.start_fitness == pytest.approx(-8.0, abs=0.8)
    candidates = 12 * len(event.rungs) + 1
    assert event.tokens == candidates * len(ROWS) * (PROMPT_TOKENS + ANSWER_TOKENS)
    assert progress == [(done, len(SIGMAS)) for done in range(len(event.rungs))]
    assert event.rungs[2].best_fitness > event.rungs[2].mean_fitness > -9
    assert event.rungs[-1].mean_fitness == pytest.approx(-17, abs=3)


@pytest.mark.parametrize("target", ["factors", "product"])
def test_each_target_has_its_own_ladder(target):
    evaluator = noisy()
    probe(evaluator, sigmas=None, target=target)
    tried = [call.label for call in evaluator.calls]
    ladder = [f"step size {sigma:g}" for sigma in DEFAULT_SIGMAS[target]]
    places = sorted(ladder.index(label) for label in tried)
    assert tried[0] == "step size 1"
    assert places == list(range(places[0], places[0] + len(tried)))


def test_a_step_whose_reliability_is_low_by_bad_luck_is_still_taken():
    # A ladder of a real job over 24 prompts: at 3.0 it went on to gain 0.5, at 0.3 nothing.
    rungs = [
        LadderRung(
            sigma=sigma,
            reliability=reliability,
            mean_fitness=mean,
            best_fitness=best,
            fitness_std=std,
        )
        for sigma, reliability, mean, best, std in (
            (0.1, -0.04, 0.830, 0.90, 0.043),
            (0.3, 0.22, 0.818, 0.91, 0.069),
            (1.0, 0.13, 0.813, 0.99, 0.075),
            (3.0, -0.02, 0.802, 0.91, 0.079),
            (6.0, 0.60, 0.537, 0.84, 0.171),
        )
    ]
    assert choose_rung(rungs).sigma == 3.0


def test_a_collapsed_rung_is_not_chosen_for_its_reliability():
    # Small steps are noise, the first step that is not destroys the model.
    outcome = probe(noisy(), sigmas=(0.001, 0.003, 0.01, 10.0))
    assert outcome.event.rungs[-1].sigma == 10.0
    assert present(outcome.event.rungs[-1].reliability) > 0.9
    assert outcome.sigma < 0.1


def test_rungs_without_scores_are_left_out():
    def spoil(label, rewards):
        return np.full_like(rewards, np.nan) if label == "step size 0.3" else rewards

    outcome = probe(noisy(spoil=spoil))
    assert 0.3 not in [rung.sigma for rung in outcome.event.rungs]
    assert outcome.sigma == 1.0

    def spoil_first(label, rewards):
        return np.full_like(rewards, np.nan) if label == "step size 0.01" else rewards

    assert probe(noisy(spoil=spoil_first)).sigma in (0.3, 1.0)


def test_a_ladder_without_any_score_is_an_error():
    with pytest.raises(NonFiniteFitnessError, match="reward"):
        probe(noisy(spoil=lambda label, rewards: np.full_like(rewards, np.nan)))


def test_rewards_that_never_differ_have_no_reliability_and_still_give_a_step():
    outcome = probe(noisy(spoil=lambda label, rewards: np.ones_like(rewards)))
    assert outcome.reliability is None
    assert outcome.sigma in SIGMAS
