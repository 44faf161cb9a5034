"""Summaries of a final evaluation, and when two bases disagree."""

from __future__ import annotations

import numpy as np
import pytest

from essa.coordinator import run_events
from essa.coordinator.run_events import precision_gap
from essa.events import ScoreSummary
from essa.objective.objective import RewardObjective
from essa.types import PopulationScores
from tests.narrowing import present

NAN = float("nan")


def scores(rewards_N_P: list[list[float]]) -> PopulationScores:
    rewards = np.array(rewards_N_P)
    return PopulationScores(
        rewards_N_P=rewards,
        components={"doubled": 2 * rewards},
        completions=[[""] * rewards.shape[1] for _ in rewards],
        prompt_tokens=0,
        generated_tokens=0,
        rollout_s=0.0,
        reward_s=0.0,
    )


def summaries_of(rewards_N_P: list[list[float]]) -> dict[str, ScoreSummary]:
    return run_events.test_summaries(scores(rewards_N_P), RewardObjective(0.25), np.zeros(2))


def summary(mean: float, low: float = NAN, high: float = NAN) -> ScoreSummary:
    return ScoreSummary(mean=mean, ci95=(low, high), prompts=40)


def test_base_warm_start_and_aligned_are_told_apart_by_their_rows():
    summaries = summaries_of([[0.0, 0.2], [0.3, 0.5], [0.8, 1.0]])
    assert {name: one.mean for name, one in summaries.items()} == pytest.approx(
        {"base": 0.1, "warm_start": 0.4, "aligned": 0.9}
    )
    assert summaries["aligned"].components == pytest.approx({"doubled": 1.8})
    for one in summaries.values():
        assert one.ci95[0] <= one.mean <= one.ci95[1]


def test_missing_scores_are_counted_and_left_out_of_the_mean():
    summaries = summaries_of([[1.0, NAN, 3.0], [NAN, NAN, NAN], [1.0, 1.0, 1.0]])
    assert (summaries["base"].mean, summaries["base"].missing) == (2.0, 1)
    assert np.isnan(summaries["warm_start"].mean)
    assert (summaries["warm_start"].missing, summaries["warm_start"].prompts) == (3, 3)
    assert (summaries["aligned"].mean, summaries["aligned"].missing) == (1.0, 0)


@pytest.mark.parametrize("mean", [0.6, 0.7, 0.8])
def test_bases_agree_up_to_the_ends_of_the_interval(mean):
    assert precision_gap("int8", summary(0.7, 0.6, 0.8), "bf16", summary(mean)) is None


@pytest.mark.parametrize("mean", [0.59, 0.81])
def test_a_gap_in_either_direction_names_both_scores_and_both_settings(mean):
    told = present(precision_gap("int8", summary(0.7, 0.6, 0.8), "bf16", summary(mean)))
    assert f"scores {mean:.3f} on the bf16 base" in told
    assert "its 0.700 on the int8 base (0.600 to 0.800)" in told
    assert "engine.precision to bf16" in told
    assert "evaluation.serving_precision to int8" in told


def test_a_missing_score_is_no_gap():
    assert precision_gap("int8", summary(0.7, 0.6, 0.8), "bf16", summary(NAN)) is None
    assert precision_gap("int8", summary(NAN), "bf16", summary(0.7)) is None
