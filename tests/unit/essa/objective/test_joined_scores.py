"""Evaluations made one after the other, told as one."""

from __future__ import annotations

import numpy as np

from essa.types import PopulationScores, WorkSpan, joined_scores


def scores(first: float, count: int, failures: dict[str, int], seconds: float) -> PopulationScores:
    rewards = first + np.arange(2.0 * count, dtype=np.float64).reshape(count, 2)
    spans = tuple(WorkSpan(0, 0.5 * row, 0.5 * row + 0.4, (row,), 7) for row in range(count))
    return PopulationScores(
        rewards_N_P=rewards,
        components={"tone": -rewards},
        completions=[[f"{first} {row} {prompt}" for prompt in range(2)] for row in range(count)],
        prompt_tokens=10 * count,
        generated_tokens=20 * count,
        rollout_s=seconds,
        reward_s=seconds / 4,
        failures=failures,
        samples=2 * count,
        spans=spans,
    )


def test_rows_follow_one_another_and_costs_add_up() -> None:
    joined = joined_scores(
        [scores(0, 2, {"timeout": 1}, 4.0), scores(100, 1, {"timeout": 2, "empty": 1}, 8.0)]
    )
    np.testing.assert_array_equal(joined.rewards_N_P, [[0, 1], [2, 3], [100, 101]])
    np.testing.assert_array_equal(joined.components["tone"], -joined.rewards_N_P)
    assert joined.completions[2] == ["100 0 0", "100 0 1"]
    assert (joined.prompt_tokens, joined.generated_tokens, joined.samples) == (30, 60, 6)
    assert (joined.rollout_s, joined.reward_s) == (12.0, 3.0)
    assert joined.failures == {"timeout": 3, "empty": 1}


def test_work_of_a_later_part_begins_after_the_earlier() -> None:
    joined = joined_scores([scores(0, 2, {}, 4.0), scores(100, 1, {}, 8.0)])
    assert [span.candidates for span in joined.spans] == [(0,), (1,), (2,)]
    assert [span.started_s for span in joined.spans] == [0.0, 0.5, 5.0]
    assert joined.spans[2].ended_s == 5.4


def test_one_part_is_itself() -> None:
    alone = scores(3, 2, {"timeout": 1}, 4.0)
    joined = joined_scores([alone])
    np.testing.assert_array_equal(joined.rewards_N_P, alone.rewards_N_P)
    assert (joined.failures, joined.spans) == (alone.failures, alone.spans)
