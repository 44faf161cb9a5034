from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from essa.errors import DataError
from workers.warm_start.rejection import select_best

NAN = float("nan")


def test_best_sample_above_its_own_mean_is_kept():
    chosen = select_best(np.array([[0.1, 0.9, 0.2], [0.5, 0.5, 0.5], [-1.0, -0.8, -0.9]]), None)
    assert chosen.prompts.tolist() == [0, 2]
    assert chosen.samples.tolist() == [1, 1]
    assert chosen.kept_reward == pytest.approx(0.05)
    assert len(chosen) == 2


def test_samples_that_score_alike_are_dropped_whatever_their_mean_rounds_to():
    with pytest.raises(DataError, match=r"score the same.*temperature"):
        select_best(np.full((2, 3), 0.1), None)


def test_min_reward_is_an_inclusive_threshold():
    chosen = select_best(np.array([[0.1, 0.5], [0.4, 0.2], [0.5, 0.5]]), 0.5)
    assert list(zip(chosen.prompts.tolist(), chosen.samples.tolist(), strict=True)) == [
        (0, 1),
        (2, 0),
    ]


def test_missing_scores_are_ignored_and_counted():
    chosen = select_best(np.array([[NAN, 0.2, 0.1], [NAN, NAN, 0.9], [NAN, NAN, NAN]]), None)
    assert chosen.prompts.tolist() == [0]
    assert chosen.samples.tolist() == [1]
    assert chosen.missing == 6
    assert chosen.mean_reward == pytest.approx(0.4)


def test_only_scored_sample_passes_a_threshold():
    assert select_best(np.array([[NAN, 0.9]]), 0.5).samples.tolist() == [1]


def test_unreachable_threshold_reports_the_range_and_the_setting():
    with pytest.raises(DataError, match=r"warm_start\.min_reward 2 .*from -0\.5 to 1\b"):
        select_best(np.array([[0.1, 1.0], [-0.5, 0.2]]), 2.0)


def test_nothing_scored_is_its_own_error():
    with pytest.raises(DataError, match="none of the 4 samples"):
        select_best(np.full((2, 2), NAN), None)


@pytest.mark.parametrize("shape", [(0, 4), (4,)])
def test_wrong_shape_is_refused(shape):
    with pytest.raises(DataError, match="shape"):
        select_best(np.zeros(shape), None)


@given(
    st.lists(
        st.lists(st.floats(-1, 1) | st.just(NAN), min_size=3, max_size=3), min_size=1, max_size=8
    )
)
def test_kept_sample_is_the_maximum_and_beats_its_mean(rows):
    rewards = np.array(rows)
    before = rewards.copy()
    try:
        chosen = select_best(rewards, None)
    except DataError:
        spread = [np.ptp(row[np.isfinite(row)]) if np.isfinite(row).any() else 0 for row in rewards]
        assert max(spread) == 0
        return
    np.testing.assert_array_equal(rewards, before)
    for prompt, sample in zip(chosen.prompts, chosen.samples, strict=True):
        assert rewards[prompt, sample] == np.nanmax(rewards[prompt])
        assert rewards[prompt, sample] > np.nanmin(rewards[prompt])
