"""Fitness of candidates, its reliability, and intervals."""

from __future__ import annotations

import numpy as np
import pytest

from essa.objective.fitness import bootstrap_interval, candidate_means, component_means
from essa.objective.fitness import split_half_reliability as columns_reliability
from tests.narrowing import present

NAN = float("nan")


def candidate_fitness(rewards: np.ndarray, max_missing_frac: float = 0.25) -> np.ndarray:
    return candidate_means(rewards[:, :, None], max_missing_frac)[:, 0]


def split_half_reliability(rewards: np.ndarray) -> float | None:
    return columns_reliability(rewards[:, :, None], max_missing_frac=0.25)


def noisy_rewards(signal: float, noise: float, candidates: int = 24, prompts: int = 32):
    """Rewards with a known true reliability: candidate effect plus noise of each pair."""
    rng = np.random.default_rng(5)
    effect = signal * rng.standard_normal((candidates, 1))
    ease = rng.standard_normal((1, prompts))
    return effect + ease + noise * rng.standard_normal((candidates, prompts))


def test_fitness_is_the_mean_reward():
    rewards = np.array([[0.0, 1.0], [1.0, 1.0]])
    assert candidate_fitness(rewards).tolist() == [0.5, 1.0]


def test_losing_a_hard_prompt_is_no_advantage():
    # Everyone scores 1 on easy prompts and 0 on the hard one, which candidate 0 lost.
    rewards = np.ones((3, 8))
    rewards[:, 0] = 0.0
    rewards[0, 0] = NAN
    assert candidate_fitness(rewards) == pytest.approx([7 / 8] * 3)


def test_a_candidate_with_many_missing_scores_is_missing():
    rewards = np.ones((3, 8))
    rewards[0, :2] = NAN
    rewards[1, :3] = NAN
    fitness = candidate_fitness(rewards)
    assert np.isnan(fitness).tolist() == [False, True, False]
    assert np.isfinite(candidate_fitness(rewards, max_missing_frac=0.5)).all()


def test_prompts_nobody_has_a_score_for_count_for_nothing():
    rewards = np.array([[1.0, 0.0, NAN, NAN], [1.0, 1.0, NAN, NAN], [0.0, 0.0, NAN, NAN]])
    assert candidate_fitness(rewards).tolist() == [0.5, 1.0, 0.0]


def test_without_any_score_every_candidate_is_missing():
    assert np.isnan(candidate_fitness(np.full((3, 4), NAN))).all()


def test_rewards_are_left_alone():
    rewards = np.array([[1.0, NAN, 3.0, 4.0, 5.0], [1.0, 2.0, 3.0, 4.0, 5.0]])
    before = rewards.copy()
    candidate_fitness(rewards)
    split_half_reliability(rewards)
    np.testing.assert_array_equal(rewards, before)


def test_reliability_is_near_zero_for_noise_and_near_one_for_signal():
    assert abs(present(split_half_reliability(noisy_rewards(0.0, 1.0)))) < 0.35
    assert present(split_half_reliability(noisy_rewards(1.0, 0.1))) > 0.98


def test_reliability_agrees_with_theory_between_the_extremes():
    # Variance of a half's mean: 1 of the candidate, 4^2 / 16 of the noise.
    values = [
        present(split_half_reliability(np.random.default_rng(seed).permutation(block)))
        for seed, block in enumerate(np.split(noisy_rewards(1.0, 4.0, candidates=400), 4))
    ]
    assert np.mean(values) == pytest.approx(0.5, abs=0.1)


def test_reliability_does_not_depend_on_how_hard_prompts_are():
    rewards = noisy_rewards(1.0, 2.0)
    harder = rewards - 100 * np.arange(rewards.shape[1])
    assert split_half_reliability(harder) == pytest.approx(split_half_reliability(rewards))


def test_reliability_is_undefined_without_variance_or_with_too_little_data():
    assert split_half_reliability(np.ones((8, 8))) is None
    assert split_half_reliability(np.arange(16.0).reshape(2, 8)) is None
    assert split_half_reliability(np.arange(24.0).reshape(8, 3)) is None
    assert split_half_reliability(np.full((8, 8), NAN)) is None


def test_reliability_survives_gaps_that_leave_no_prompt_complete():
    rewards = noisy_rewards(1.0, 1.0)
    whole = split_half_reliability(rewards)
    for prompt in range(rewards.shape[1]):
        rewards[prompt % len(rewards), prompt] = NAN
    assert split_half_reliability(rewards) == pytest.approx(whole, abs=0.05)


def test_a_failed_candidate_does_not_take_the_reliability_of_the_others_along():
    rewards = noisy_rewards(1.0, 1.0)
    others = split_half_reliability(rewards[1:])
    rewards[0, 2:] = NAN
    assert split_half_reliability(rewards) == pytest.approx(others)


def test_the_bootstrap_interval_has_the_width_of_theory():
    scores = np.random.default_rng(0).standard_normal(400)
    interval = bootstrap_interval(scores)
    assert interval.mean == pytest.approx(scores.mean())
    assert interval.low < interval.mean < interval.high
    assert interval.high - interval.low == pytest.approx(2 * 1.96 / 20, rel=0.15)
    assert bootstrap_interval(scores) == interval


def test_the_bootstrap_leaves_missing_scores_out():
    interval = bootstrap_interval(np.array([1.0, NAN, 1.0]))
    assert interval == (1.0, 1.0, 1.0)
    assert np.isnan(bootstrap_interval(np.array([NAN, NAN]))).all()


@pytest.mark.filterwarnings("error")
def test_component_means_are_of_one_candidate_or_of_all_without_missing_ones():
    values = {"a": np.array([[1.0, 3.0], [NAN, 5.0]]), "b": np.full((2, 2), NAN)}
    assert component_means(values)["a"] == 3.0
    assert component_means(values, 1)["a"] == 5.0
    assert np.isnan(component_means(values)["b"])


def test_the_reliability_of_a_mixed_fitness_is_that_of_the_mix():
    signal, noise = noisy_rewards(1.0, 0.1), noisy_rewards(0.0, 1.0)
    columns = np.stack([signal, noise], axis=2)

    def reliability(weights: list[float]) -> float:
        found = columns_reliability(
            columns, max_missing_frac=0.25, fitness=lambda means: means @ np.array(weights)
        )
        return present(found)

    assert reliability([1.0, 0.0]) == pytest.approx(split_half_reliability(signal))
    assert reliability([0.0, 1.0]) == pytest.approx(split_half_reliability(noise))
    assert reliability([1.0, 0.0]) > reliability([1.0, 1.0]) > reliability([0.0, 1.0])


def test_columns_are_averaged_on_their_own():
    columns = np.stack([np.ones((3, 4)), np.arange(12.0, dtype=np.float64).reshape(3, 4)], axis=2)
    columns[0, 0, 1] = NAN
    means = candidate_means(columns, 0.25)
    assert means[:, 0].tolist() == [1.0, 1.0, 1.0]
    assert means[:, 1] == pytest.approx([(6 + 1 + 2 + 3) / 4, 5.5, 9.5])
