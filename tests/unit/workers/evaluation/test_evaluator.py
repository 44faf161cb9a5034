"""From work items back to scores, without engines: the pool is in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from essa.errors import EvaluationError, JobCancelledError, SpecError
from essa.parametrize.basis import AdapterBasis
from essa.parametrize.codec import SingularValueCodec
from essa.parametrize.port import Codec, Load
from essa.parametrize.weights import WeightCodec
from essa.spec import RolloutSpec
from essa.types import Completion, Row
from reward.base import ItemReward, Reward, RewardResult
from reward.errors import RewardError
from reward.registry import build_reward
from reward.sample import Need, Sample
from reward.spec import CompositeSpec
from workers.cluster.pool import ItemResult, WorkItem
from workers.engines.base import BASE
from workers.evaluation.evaluator import PoolEvaluator

BASE_SCORE = -7.0
ROWS = [Row(index, "x" * (index + 1), {"bonus": 100.0 * index}) for index in range(11)]
BONUS = np.array([row.columns["bonus"] for row in ROWS])


class LocalPool:
    """The interface of `EnginePool`, results in a shuffled order.

    A completion is the sum of its candidate's scales as text, so that it shows which population
    and which candidate it came from. Sample s of a prompt adds s.
    """

    def __init__(self, max_population: int = 100, capacity: int = 16) -> None:
        self.size, self.capacity, self.max_population = 2, capacity, max_population
        self.populations: list[np.ndarray] = []
        self.bases: list[str] = []
        """Digest of every population's bases."""
        self.items: list[WorkItem] = []
        self.fails: Callable[[WorkItem], str | None] = lambda item: None
        self.tokens = 5000

    def generated_tokens(self) -> int:
        return self.tokens

    def load(self, load: Load) -> None:
        assert load.candidates <= self.max_population
        self.populations.append(load.scales_N_S)
        self.bases.append(load.basis.digest)

    def run(self, items: Sequence[WorkItem], check: Callable[[], None]) -> Iterator[ItemResult]:
        for index in np.random.default_rng(0).permutation(len(items)):
            check()
            item = items[index]
            self.items.append(item)
            self.tokens += item.sequences
            error = self.fails(item)
            if error is not None:
                yield ItemResult(item, None, error)
            elif item.answers is not None:
                yield ItemResult(item, [self._scored(answer) for answer in item.answers])
            else:
                yield ItemResult(item, [self._answer(item, i) for i in range(len(item.prompts))])

    def _answer(self, item: WorkItem, index: int) -> list[Completion]:
        candidate = item.candidates[index]
        score = BASE_SCORE if candidate == BASE else float(self.populations[-1][candidate].sum())
        return [
            Completion(f"{score + sample:.4f}", (1, 2, 3), "stop")
            for sample in range(item.parameters.samples)
        ]

    def _scored(self, answer: tuple[int, ...]) -> list[Completion]:
        """Every token's log-probability is minus its id."""
        return [Completion("", answer, "scored", tuple(-float(token) for token in answer))]


class LetterEncoder:
    """One token per character."""

    def token_ids(self, text: str) -> list[int]:
        return [ord(letter) for letter in text]


class NumberReward(ItemReward):
    """The completion is the score and a column of the row comes on top; some columns fail."""

    def __init__(self, missing: Sequence[float] = ()) -> None:
        super().__init__(None)
        self._missing = missing

    def _score_item(self, sample: Sample) -> float:
        bonus = sample.columns["bonus"]
        if bonus in self._missing:
            raise RewardError(f"no score at {bonus:g}")
        return float(sample.completion) + bonus


@pytest.fixture
def codec(tiny_adapter) -> SingularValueCodec:
    return SingularValueCodec(AdapterBasis.decompose(tiny_adapter(), "factors", 1.0))


@pytest.fixture
def vectors(codec) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((5, codec.dimension))


@pytest.fixture
def weights(tiny_adapter) -> WeightCodec:
    return WeightCodec(tiny_adapter())


def make_evaluator(
    pool: LocalPool,
    codec: Codec | None,
    reward: Reward | None = None,
    rollout: RolloutSpec | None = None,
    **settings: Any,
) -> PoolEvaluator:
    rollout = rollout or RolloutSpec(max_tokens=8)
    encoder: Any = LetterEncoder()
    engines: Any = pool
    return PoolEvaluator(
        engines, encoder, reward or NumberReward(), rollout, codec=codec, **settings
    )


def expected(codec: SingularValueCodec, vectors: np.ndarray) -> np.ndarray:
    return codec.scales(vectors).sum(axis=1)[:, None] + BONUS


@pytest.mark.parametrize("max_population", [100, 5, 4, 2, 1])
@pytest.mark.parametrize("with_base", [False, True])
def test_scores_come_in_the_order_of_the_vectors(codec, vectors, with_base, max_population):
    pool = LocalPool(max_population)
    scores = make_evaluator(pool, codec).evaluate(vectors, ROWS, with_base=with_base)
    wanted = expected(codec, vectors)
    if with_base:
        wanted = np.vstack([BASE_SCORE + BONUS, wanted])
    np.testing.assert_allclose(scores.rewards_N_P, wanted, atol=1e-3)
    assert scores.rewards_N_P.dtype == np.float64
    for n, row in enumerate(scores.completions):
        assert [float(text) for text in row] == pytest.approx(wanted[n] - BONUS, abs=1e-3)
    assert len(pool.populations) == -(-len(vectors) // max_population)
    base_rows = sum(item.candidates.count(BASE) for item in pool.items)
    assert base_rows == (len(ROWS) if with_base else 0)


@pytest.mark.parametrize("max_population", [100, 4, 3])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_candidates_of_a_group_answer_its_prompts_alone(codec, max_population, temperature):
    vectors = np.random.default_rng(1).standard_normal((10, codec.dimension))
    pool, rows = LocalPool(max_population), ROWS[:10]
    evaluator = make_evaluator(
        pool, codec, NumberReward(), RolloutSpec(max_tokens=8, temperature=temperature)
    )
    scores = evaluator.evaluate(vectors, rows, groups=5)
    everything = expected(codec, vectors)[:, :10]
    wanted = [everything[n, n // 2 * 2 : n // 2 * 2 + 2] for n in range(10)]
    np.testing.assert_allclose(scores.rewards_N_P, wanted, atol=1e-3)
    assert (scores.groups, scores.samples) == (5, 20)
    assert sum(len(item.prompts) for item in pool.items) == 20


def test_one_failed_answer_of_a_bundle_leaves_the_others(codec):
    vectors = np.random.default_rng(1).standard_normal((6, codec.dimension))
    reward = NumberReward(missing=[BONUS[2]])
    scores = make_evaluator(LocalPool(), codec, reward).evaluate(vectors, ROWS[:3], groups=3)
    assert np.isnan(scores.rewards_N_P).ravel().tolist() == [False] * 4 + [True] * 2


def test_groups_that_do_not_divide_the_batch_are_refused(codec, vectors):
    with pytest.raises(SpecError, match="batch_size to a multiple of 5"):
        make_evaluator(LocalPool(), codec).evaluate(vectors, ROWS, groups=5)


def test_the_base_is_evaluated_once_and_without_bases(codec):
    pool = LocalPool()
    scores = make_evaluator(pool, None).evaluate(np.zeros((0, 1)), ROWS, with_base=True)
    np.testing.assert_allclose(scores.rewards_N_P, [BASE_SCORE + BONUS])
    assert pool.populations == []
    assert sum(len(item.candidates) for item in pool.items) == len(ROWS)


@pytest.mark.parametrize("with_base", [False, True])
def test_vectors_of_weights_are_loaded_one_after_the_other(weights, with_base):
    class ShownBasis(LocalPool):
        """An answer is the number of bases that have been loaded, the base's minus that."""

        def _answer(self, item: WorkItem, index: int) -> list[Completion]:
            shown = len(self.bases) * (-1 if item.candidates[index] == BASE else 1)
            return [Completion(f"{shown}", (1, 2, 3), "stop")]

    pool = ShownBasis()
    vectors = np.random.default_rng(0).standard_normal((3, weights.dimension))
    scores = make_evaluator(pool, weights).evaluate(vectors, ROWS, with_base=with_base)
    assert pool.bases == [weights.engine_basis(vector).digest for vector in vectors]
    assert [len(population) for population in pool.populations] == [1, 1, 1]
    # The base is decoded beside the first of them.
    shown = [-1.0] * with_base + [1.0, 2.0, 3.0]
    np.testing.assert_array_equal(scores.rewards_N_P, np.array(shown)[:, None] + BONUS)
    told = {span.candidates for span in scores.spans}
    assert told == {(0,), (1,), (2,)} | ({()} if with_base else set())


def test_tokens_of_prompts_and_answers_are_counted(codec, vectors):
    scores = make_evaluator(LocalPool(max_population=2), codec).evaluate(
        vectors, ROWS, with_base=True
    )
    assert scores.prompt_tokens == 6 * sum(len(row.prompt) for row in ROWS)
    assert scores.generated_tokens == 6 * len(ROWS) * 3
    assert scores.tokens == scores.prompt_tokens + scores.generated_tokens
    assert scores.rollout_s >= 0
    assert scores.reward_s >= 0


def test_a_failed_item_leaves_missing_scores_and_its_reason(codec, vectors):
    pool = LocalPool(capacity=4)
    pool.fails = lambda item: "too long" if 2 in item.candidates else None
    scores = make_evaluator(pool, codec).evaluate(vectors, ROWS)
    missing = np.isnan(scores.rewards_N_P)
    assert missing[2].all()
    assert missing.sum() == len(ROWS)
    assert scores.failures == {"too long": len(ROWS)}
    assert scores.completions[2] == [""] * len(ROWS)
    assert scores.generated_tokens == 4 * len(ROWS) * 3


def test_failures_of_the_reward_are_missing_and_counted(codec, vectors):
    scores = make_evaluator(LocalPool(), codec, NumberReward(missing=(300.0, 500.0))).evaluate(
        vectors, ROWS
    )
    missing = np.isnan(scores.rewards_N_P).any(axis=0)
    np.testing.assert_array_equal(np.flatnonzero(missing), [3, 5])
    assert scores.failures == {"no score at 300": 5, "no score at 500": 5}
    assert float(scores.completions[0][3]) != 0


def test_samples_are_averaged_and_the_first_is_shown(codec, vectors):
    rollout = RolloutSpec(max_tokens=8, temperature=1.0, samples_per_prompt=3)
    scores = make_evaluator(LocalPool(), codec, rollout=rollout).evaluate(vectors, ROWS)
    np.testing.assert_allclose(scores.rewards_N_P, expected(codec, vectors) + 1.0, atol=1e-3)
    first = [[float(text) for text in row] for row in scores.completions]
    np.testing.assert_allclose(first, expected(codec, vectors) - BONUS, atol=1e-3)
    assert scores.generated_tokens == 5 * len(ROWS) * 3 * 3


def test_a_missing_sample_leaves_the_mean_of_the_others(codec, vectors):
    class FirstSampleFails(Reward):
        def score(self, samples):
            results = [RewardResult(float(index % 3)) for index in range(len(samples))]
            results[::3] = [RewardResult(float("nan"), error="first")] * len(results[::3])
            return results

    rollout = RolloutSpec(max_tokens=8, temperature=1.0, samples_per_prompt=3)
    scores = make_evaluator(LocalPool(), codec, FirstSampleFails(None), rollout).evaluate(
        vectors, ROWS
    )
    np.testing.assert_array_equal(scores.rewards_N_P, np.full((5, len(ROWS)), 1.5))
    assert scores.failures == {"first": 5 * len(ROWS)}


def test_components_have_an_array_each(codec, vectors):
    reward = build_reward(
        CompositeSpec.model_validate(
            {
                "type": "composite",
                "components": [
                    {"name": "digits", "reward": {"type": "regex", "pattern": "[0-9]"}},
                    {
                        "name": "short",
                        "weight": 2.0,
                        "reward": {"type": "length", "unit": "characters", "max": 1},
                    },
                ],
            }
        )
    )
    pool = LocalPool()
    pool.fails = lambda item: "lost" if item.candidates[0] == 4 else None
    scores = make_evaluator(pool, codec, reward).evaluate(vectors, ROWS, with_base=True)
    assert set(scores.components) == {"digits", "short"}
    np.testing.assert_array_equal(scores.components["digits"][:5], np.ones((5, len(ROWS))))
    np.testing.assert_array_equal(scores.components["short"][:5], np.zeros((5, len(ROWS))))
    np.testing.assert_array_equal(scores.rewards_N_P[:5], np.ones((5, len(ROWS))))
    assert np.isnan(scores.components["digits"][5]).all()


def test_rollout_settings_reach_the_engines(codec, vectors):
    pool = LocalPool()
    rollout = RolloutSpec(max_tokens=9, temperature=0.5, stop=("\n",))
    make_evaluator(pool, codec, rollout=rollout, seed=40).evaluate(vectors[:1], ROWS[:2])
    parameters = pool.items[0].parameters
    assert (parameters.max_tokens, parameters.temperature, parameters.stop) == (9, 0.5, ("\n",))
    assert (parameters.samples, parameters.seed) == (1, 40)


def test_progress_is_told_and_a_cancel_ends_it(codec, vectors):
    told: list[tuple[str, int, int, int]] = []
    pool = LocalPool()
    make_evaluator(pool, codec, progress=lambda *step: told.append(step)).evaluate(
        vectors, ROWS, label="generation 1"
    )
    total = len(vectors) * len(ROWS)
    assert {(label, whole) for label, _, whole, _ in told} == {("generation 1", total)}
    assert told[-1] == ("generation 1", total, total, total)
    # Before every item and after it; what earlier evaluations generated is not counted.
    assert len(told) == 2 * len(pool.items)
    answers, tokens = zip(*((done, tokens) for _, done, _, tokens in told), strict=True)
    assert answers[0] == tokens[0] == 0
    assert answers == tokens == tuple(sorted(answers))

    def cancel():
        raise JobCancelledError("enough")

    with pytest.raises(JobCancelledError):
        make_evaluator(LocalPool(), codec, check=cancel).evaluate(vectors, ROWS)


# -- who did what ---------------------------------------------------------------------------


@pytest.mark.parametrize("max_population", [100, 2])
def test_every_item_is_told_with_its_candidates_and_tokens(codec, vectors, max_population):
    pool = LocalPool(max_population, capacity=4)
    scores = make_evaluator(pool, codec).evaluate(vectors, ROWS, with_base=True)
    assert len(scores.spans) == len(pool.items)
    assert scores.samples == 6 * len(ROWS)
    tokens: dict[tuple[int, ...], int] = dict.fromkeys([(), *((one,) for one in range(5))], 0)
    for span in scores.spans:
        tokens[span.candidates] += span.tokens
    assert set(tokens.values()) == {3 * len(ROWS)}


def test_scoring_under_the_base_is_told_without_tokens_and_failures_too(codec, vectors):
    pool = LocalPool()
    pool.fails = lambda item: "lost" if item.answers is None and 1 in item.candidates else None
    scores = make_evaluator(pool, codec, Fluency(None)).evaluate(vectors, ROWS)
    assert len(scores.spans) == len(pool.items)
    idle = [span.candidates for span in scores.spans if span.tokens == 0]
    references = sum(item.answers is not None for item in pool.items)
    assert idle.count(()) == references > 0
    assert set(idle) == {(), (1,)}
    assert scores.samples == 4 * len(ROWS)


# -- samples of the base --------------------------------------------------------------------


def test_samples_of_the_base_come_with_their_rewards():
    pool = LocalPool(capacity=4)
    found = make_evaluator(pool, None, seed=5).sample(
        None, ROWS, samples=4, temperature=0.8, label="sampling"
    )
    rewards, sampled, tokens = found.rewards_P_G, found.completions, found.scores.tokens
    assert rewards.shape == (len(ROWS), 4)
    np.testing.assert_allclose(rewards, BASE_SCORE + BONUS[:, None] + np.arange(4))
    for prompt, completions in enumerate(sampled):
        assert [float(completion.text) for completion in completions] == pytest.approx(
            rewards[prompt] - BONUS[prompt]
        )
    assert tokens == sum(len(row.prompt) for row in ROWS) + len(ROWS) * 4 * 3
    assert {item.parameters.temperature for item in pool.items} == {0.8}
    assert {item.candidates[0] for item in pool.items} == {BASE}


def test_lost_samples_of_the_base_are_missing():
    pool = LocalPool()
    lost = tuple(ord(letter) for letter in ROWS[0].prompt)
    pool.fails = lambda item: "too long" if lost in item.prompts else None
    found = make_evaluator(pool, None).sample(None, ROWS, samples=2, temperature=1.0)
    rewards, sampled = found.rewards_P_G, found.completions
    missing = np.any(np.isnan(rewards), axis=1)
    assert missing[0]
    assert not missing.all()
    assert [completions == [] for completions in sampled] == list(missing)


def test_a_base_without_a_single_score_names_the_failures():
    pool = LocalPool()
    pool.fails = lambda item: "too long"
    with pytest.raises(EvaluationError, match=r"too long \(x11\)"):
        make_evaluator(pool, None).sample(None, ROWS, samples=2, temperature=1.0)


class Fluency(ItemReward):
    """Mean log-probability under the base, beside the answer's own score."""

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset({Need.REFERENCE_LOGPROBS})

    def _score_item(self, sample: Sample) -> float:
        assert sample.reference_logprobs is not None
        return float(np.mean(sample.reference_logprobs))


def test_log_probabilities_under_the_base_are_there_where_the_reward_needs_them(codec, vectors):
    pool = LocalPool(max_population=2)
    pool.fails = lambda item: "lost" if item.answers is None and 1 in item.candidates else None
    scores = make_evaluator(pool, codec, Fluency(None)).evaluate(vectors, ROWS, with_base=True)
    # Candidates 1 and 3 are the second of their populations.
    missing = np.isnan(scores.rewards_N_P).all(axis=1)
    np.testing.assert_array_equal(np.flatnonzero(missing), [2, 4])
    np.testing.assert_array_equal(scores.rewards_N_P[[0, 1, 3, 5]], -2.0)


def test_equal_answers_are_scored_by_the_base_once(codec, vectors):
    pool = LocalPool()
    make_evaluator(pool, codec, Fluency(None)).evaluate(vectors, ROWS)
    asked = [
        (prompt, answer)
        for item in pool.items
        if item.answers is not None
        for prompt, answer in zip(item.prompts, item.answers, strict=True)
    ]
    assert len(asked) == len(set(asked)) == len(ROWS)
    assert all(set(item.candidates) == {BASE} for item in pool.items if item.answers is not None)


def test_answers_that_the_base_cannot_score_are_missing(codec, vectors):
    pool = LocalPool()
    pool.fails = lambda item: "too long" if item.answers is not None else None
    scores = make_evaluator(pool, codec, Fluency(None)).evaluate(vectors, ROWS)
    assert np.isnan(scores.rewards_N_P).all()
    assert scores.failures["too long"] > 0


def test_a_reward_is_given_all_answers_of_a_candidate_at_once(codec, vectors):
    class Batch(Reward):
        def score(self, samples):
            groups = tuple(sample.group for sample in samples)
            assert groups == tuple(sorted(groups)) == tuple(range(len(ROWS)))
            assert [sample.prompt for sample in samples] == [row.prompt for row in ROWS]
            return [RewardResult(float(len(samples)))] * len(samples)

    scores = make_evaluator(LocalPool(capacity=4), codec, Batch(None)).evaluate(vectors, ROWS)
    np.testing.assert_array_equal(scores.rewards_N_P, len(ROWS))


def test_an_error_in_a_reward_ends_the_evaluation(codec, vectors):
    class Broken(Reward):
        def score(self, samples):
            raise RuntimeError("a defect")

    with pytest.raises(RuntimeError, match="a defect"):
        make_evaluator(LocalPool(), codec, Broken(None)).evaluate(vectors, ROWS)


def test_answers_are_sampled_from_the_base_or_from_the_adapter(weights):
    pool = LocalPool()
    evaluator = make_evaluator(pool, weights)
    base = evaluator.sample(None, ROWS, samples=3, temperature=0.7, seed=5)
    assert pool.populations == []
    vector = np.zeros(weights.dimension)
    adapter = evaluator.sample(vector, ROWS, samples=3, temperature=0.7, seed=5)
    (held,) = pool.populations
    np.testing.assert_array_equal(held, np.ones((1, weights.engine_basis(vector).width)))
    for found, score in ((base, BASE_SCORE), (adapter, float(held.sum()))):
        wanted = score + np.arange(3) + BONUS[:, None]
        np.testing.assert_allclose(found.rewards_P_G, wanted, atol=1e-3)
        np.testing.assert_allclose(found.scores.rewards_N_P, [wanted.mean(axis=1)], atol=1e-3)
        assert [len(answers) for answers in found.completions] == [3] * len(ROWS)
        assert found.scores.samples == 3 * len(ROWS)
    parameters = [item.parameters for item in pool.items]
    assert {one.temperature for one in parameters} == {0.7}
    # An item begins at a prompt, and so do its seeds.
    assert min(one.seed for one in parameters) == 5


def test_the_vector_that_is_asked_for_is_the_one_that_answers(codec, vectors):
    pool = LocalPool()
    make_evaluator(pool, codec).sample(vectors[2], ROWS, samples=2, temperature=1.0)
    (held,) = pool.populations
    np.testing.assert_array_equal(held, codec.scales(vectors[2:3]))


def test_every_sample_keeps_its_components_and_a_failed_prompt_has_no_answers(codec):
    reward = build_reward(
        CompositeSpec.model_validate(
            {
                "type": "composite",
                "components": [
                    {"name": "long", "reward": {"type": "length", "unit": "characters", "max": 9}},
                    {"name": "two", "reward": {"type": "regex", "pattern": "^2"}},
                ],
            }
        )
    )
    pool = LocalPool(capacity=1)
    pool.fails = lambda item: "broken" if len(item.prompts[0]) == 2 else None
    found = make_evaluator(pool, None, reward).sample(
        None, ROWS, samples=2, temperature=1.0, seed=1
    )
    assert found.completions[1] == []
    assert np.isnan(found.rewards_P_G[1]).all()
    whole = found.by_sample()
    assert whole.rewards_N_P.shape == (2, len(ROWS))
    assert whole.completions[1][1] == ""
    assert whole.completions[1][0] == found.completions[0][1].text
    kept = [n for n in range(len(ROWS)) if n != 1]
    total = np.sum(list(whole.components.values()), axis=0)
    np.testing.assert_allclose(whole.rewards_N_P[:, kept], total[:, kept])
    for name, values in whole.components.items():
        np.testing.assert_allclose(
            values.mean(axis=0)[kept], found.scores.components[name][0, kept]
        )
