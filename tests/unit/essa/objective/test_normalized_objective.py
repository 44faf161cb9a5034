"""Components of very different scales count by their weights."""

from __future__ import annotations

import numpy as np
import pytest

from essa.errors import SpecError
from essa.objective.normalized import NormalizedObjective, reward_objective
from essa.objective.objective import RewardObjective
from essa.spec.reading.file import validate_job
from essa.types import PopulationScores

NAN = float("nan")


def job(**reward):
    part = {"reward": {"type": "sentiment"}}
    components = [part | {"name": "small"}, part | {"name": "large", "weight": -2.0}]
    return validate_job(
        {
            "model": {"path": "somewhere"},
            "data": {"train": {"path": "train.jsonl"}},
            "reward": {"type": "composite", "components": components} | reward,
        }
    )


def scores(small: list[float], large: list[float]) -> PopulationScores:
    parts = {
        "small": np.repeat(np.array(small)[:, None], 4, axis=1),
        "large": np.repeat(np.array(large)[:, None], 4, axis=1),
    }
    return PopulationScores(
        rewards_N_P=parts["small"] - 2 * parts["large"],
        components=parts,
        completions=[],
        prompt_tokens=0,
        generated_tokens=0,
        rollout_s=0.0,
        reward_s=0.0,
    )


def ranked(found: PopulationScores) -> np.ndarray:
    objective = reward_objective(job(normalize="running"))
    assert isinstance(objective, NormalizedObjective)
    means = objective.means(objective.columns(found, np.zeros((len(found.rewards_N_P), 3))))
    objective.observe(means, None)
    return objective.fitness(means)


def test_the_scale_of_a_component_plays_no_part():
    small, large = [0.1, 0.4, 0.2, 0.3], [5.0, 9.0, 1.0, 3.0]
    fitness = ranked(scores(small, large))
    np.testing.assert_allclose(fitness, ranked(scores(small, [1000 * x for x in large])))
    z = [(np.array(x) - np.mean(x)) / np.std(x) for x in (small, large)]
    np.testing.assert_allclose(fitness, z[0] - 2 * z[1])


def test_without_it_the_plain_sum_is_ranked():
    assert type(reward_objective(job())) is RewardObjective


def test_a_candidate_without_a_component_has_no_fitness():
    fitness = ranked(scores([0.1, NAN, 0.3, 0.2], [1.0, 2.0, 3.0, 5.0]))
    assert np.isnan(fitness).tolist() == [False, True, False, False]


def test_the_state_goes_on_where_it_was():
    objective = reward_objective(job(normalize="running"))
    means = np.array([[0.0, 0.1, 2.0], [0.0, 0.3, 5.0], [0.0, 0.2, 1.0]])
    objective.observe(means, None)
    other = reward_objective(job(normalize="running"))
    other.restore(objective.state())
    for one in (objective, other):
        one.observe(2 * means, None)
    np.testing.assert_array_equal(objective.fitness(means), other.fitness(means))


def test_it_is_judged_and_probed_by_the_plain_reward():
    objective = reward_objective(job(normalize="running"))
    found = scores([0.1, 0.4], [5.0, 9.0])
    assert objective.judge(found, np.zeros(3)).score.mean == pytest.approx(0.1 - 10.0)
    means = objective.means(objective.columns(found, np.zeros((2, 3))))
    assert objective.probe(means) == pytest.approx([0.1 - 10.0, 0.4 - 18.0])


@pytest.mark.parametrize(
    ("reward", "words"),
    [
        ({"normalize": "running", "combine": "product"}, "needs `combine: sum`"),
        ({"normalize": "always"}, "'none' or 'running'"),
    ],
)
def test_where_it_means_nothing_it_is_refused(reward, words):
    with pytest.raises(SpecError, match=words):
        job(**reward)


def test_an_inner_composite_cannot_be_normalized():
    inner = job(normalize="running").reward.model_dump(mode="json")
    with pytest.raises(SpecError, match="only the outermost"):
        job(components=[{"name": "inner", "reward": inner}])
