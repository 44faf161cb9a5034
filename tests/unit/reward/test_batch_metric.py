from __future__ import annotations

import itertools
import math
import random
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from sklearn.metrics import balanced_accuracy_score, f1_score

from reward.base import Reward, RewardResult
from reward.batch import BatchReward
from reward.errors import RewardConfigError
from reward.functions.batch import CorpusBleu
from reward.metrics import mean_of, means_without_each, pass_at_k, shares_of
from reward.registry import build_reward
from reward.sample import Sample, samples_of
from reward.spec import RewardSpec

SPEC = TypeAdapter(RewardSpec)
LABELS = ("red", "green", "blue")
NONE = "none of them"
WORDS = ("the", "a", "cat", "dog", "sat", "ran", "on", "under", "mat", "tree", "quickly", "then")


def built(kind: str, **settings: Any) -> Reward:
    return build_reward(SPEC.validate_python({"type": kind, **settings}))


def values(reward: Reward, samples: Sequence[Sample]) -> list[float]:
    results = reward.score(samples)
    assert [result.error for result in results] == [None] * len(samples)
    return [result.value for result in results]


def labelled(pairs: Sequence[tuple[str, str]]) -> list[Sample]:
    """Samples of (reference, label given) pairs."""
    texts = [f"I think it is {given}." for _, given in pairs]
    return samples_of(texts, [{"answer": right} for right, _ in pairs])


def check_shares(
    reward: Reward, samples: Sequence[Sample], metric: Callable[[Sequence[Sample]], float]
) -> None:
    """Mean and leave-one-out shares against the metric computed afresh by another library."""
    shares, whole, count = values(reward, samples), metric(samples), len(samples)
    assert np.mean(shares) == pytest.approx(whole, abs=1e-12)
    if count == 1:
        return
    without = [metric([*samples[:i], *samples[i + 1 :]]) for i in range(count)]
    pseudo = np.array([whole + (count - 1) * (whole - other) for other in without])
    assert shares == pytest.approx(pseudo - pseudo.mean() + whole, abs=1e-9)


def label_metric(score: Callable[..., float], **options: Any) -> Callable[..., float]:
    def metric(samples: Sequence[Sample]) -> float:
        right = [sample.columns["answer"] for sample in samples]
        given = [sample.completion[len("I think it is ") : -1] for sample in samples]
        if options.get("labels") == "of the references":
            options_here = {**options, "labels": sorted(set(right))}
        else:
            options_here = options
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return float(score(right, given, **options_here))

    return metric


pairs = st.lists(
    st.tuples(st.sampled_from(LABELS), st.sampled_from([*LABELS, NONE])), min_size=1, max_size=7
)


@settings(max_examples=12, deadline=None)
@given(pairs)
def test_f1_is_that_of_sklearn_and_its_shares_are_leave_one_out(pairs) -> None:
    samples = labelled(pairs)
    zero: dict[str, Any] = {"zero_division": 0}
    check_shares(
        built("f1", labels=LABELS, average="binary", positive="green"),
        samples,
        label_metric(f1_score, labels=["green"], average="macro", **zero),
    )
    check_shares(
        built("f1", labels=LABELS, average="micro"),
        samples,
        label_metric(f1_score, labels=list(LABELS), average="micro", **zero),
    )
    check_shares(
        built("f1", labels=LABELS),
        samples,
        label_metric(f1_score, labels="of the references", average="macro", **zero),
    )


@settings(max_examples=25, deadline=None)
@given(pairs)
def test_balanced_accuracy_is_that_of_sklearn_and_its_shares_are_leave_one_out(pairs) -> None:
    reward = built("balanced_accuracy", labels=LABELS)
    check_shares(reward, labelled(pairs), label_metric(balanced_accuracy_score))


def test_binary_f1_of_two_labels_is_the_plain_f1_of_sklearn() -> None:
    draw = random.Random(1)
    pairs = [(draw.choice(("yes", "no")), draw.choice(("yes", "no"))) for _ in range(40)]
    reward = built("f1", labels=("yes", "no"), average="binary", positive="yes")
    right, given = zip(*pairs, strict=True)
    # scikit-learn takes a label of any type, whatever its annotation says.
    label: Any = "yes"
    expected = f1_score(right, given, pos_label=label)
    assert np.mean(values(reward, labelled(pairs))) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("completion", "take", "label"),
    [
        ("It is red, not blue.", "first", "red"),
        ("It is red, not blue.", "last", "blue"),
        ("RED!", "last", "red"),
        ("The answer: dark  red", "first", "dark red"),
        ("The answer: dark\nred", "last", "dark red"),
        ("A red wine", "first", "red wine"),
        ("A red wine", "last", "red wine"),
        ("reddish, unblue", "last", None),
        ("C++, I say", "last", "C++"),
        ("", "first", None),
    ],
)
def test_a_label_is_the_first_or_last_whole_word(completion, take, label) -> None:
    labels = ("red", "dark red", "red wine", "blue", "C++")
    for right in labels:
        reward = built("balanced_accuracy", labels=labels, take=take)
        (value,) = values(reward, samples_of([completion], [{"answer": right}]))
        assert value == float(right == label)


def test_case_counts_where_it_is_not_to_be_ignored() -> None:
    reward = built("balanced_accuracy", labels=("A", "B"), ignore_case=False)
    row = {"answer": "A"}
    assert values(reward, samples_of(["a bad one: A", "a"], [row] * 2)) == [1.0, 0.0]
    assert reward.score(samples_of(["A"], [{"answer": "a"}]))[0].missing


def test_no_label_is_a_miss_but_no_false_alarm() -> None:
    reward = built("f1", labels=("yes", "no"), average="micro")
    silent = [("yes", "yes"), ("yes", NONE)]
    wrong = [("yes", "yes"), ("yes", "no")]
    assert np.mean(values(reward, labelled(silent))) == pytest.approx(2 / 3)
    assert np.mean(values(reward, labelled(wrong))) == pytest.approx(1 / 2)


def test_a_row_that_is_none_of_the_labels_is_named_with_the_settings() -> None:
    reward = built("f1", labels=("yes", "no"))
    (result,) = reward.score(samples_of(["yes"], [{"answer": "maybe"}]))
    assert result.error is not None
    for part in ("'answer' is none of the labels yes, no", "reward.labels", "reward.reference"):
        assert part in result.error


def sentence(draw: random.Random) -> str:
    return " ".join(draw.choices(WORDS, k=draw.randint(0, 14))) + "."


@pytest.mark.parametrize("size", [1, 2, 12])
@pytest.mark.parametrize(
    ("settings", "options"),
    [
        ({}, {}),
        ({"lowercase": True, "tokenize": "intl"}, {"lowercase": True, "tokenize": "intl"}),
        ({"smooth": "floor", "tokenize": "char"}, {"smooth_method": "floor", "tokenize": "char"}),
        ({"smooth": "none", "max_order": 2}, {"smooth_method": "none", "max_ngram_order": 2}),
    ],
)
def test_corpus_bleu_is_that_of_sacrebleu_and_its_shares_are_leave_one_out(
    size, settings, options
) -> None:
    draw = random.Random(size)
    rows = [{"answer": sentence(draw)} for _ in range(size)]
    texts = [
        row["answer"].replace("cat", "Dog").upper()
        if draw.random() < 0.2
        else row["answer"].replace("cat", "dog")
        for row in rows
    ]
    metric = sacrebleu.BLEU(**options)

    def corpus(samples: Sequence[Sample]) -> float:
        references = [[sample.columns["answer"] for sample in samples]]
        return metric.corpus_score([s.completion for s in samples], references).score / 100

    samples = samples_of(texts, rows)
    reward = built("corpus_bleu", **settings)
    check_shares(reward, samples, corpus)
    assert isinstance(reward, CorpusBleu)
    assert reward._metric([reward._statistic(sample) for sample in samples]) == corpus(samples)


def test_corpus_bleu_takes_several_references() -> None:
    row = {"answer": ["A cat sat on the mat here.", "There was a cat on the mat."]}
    text = "There was a cat on the big mat."
    (value,) = values(built("corpus_bleu"), samples_of([text], [row]))
    assert value == sacrebleu.corpus_bleu([text], [[one] for one in row["answer"]]).score / 100


def test_corpus_bleu_is_not_the_mean_of_the_sentences() -> None:
    rows = [{"answer": "The cat sat on the mat ."}, {"answer": "A dog ran under the tree ."}]
    texts = ["The cat sat on the mat .", "Trees ."]
    reward = built("corpus_bleu")
    alone = [
        values(reward, samples_of([text], [row]))[0] for text, row in zip(texts, rows, strict=True)
    ]
    together = np.mean(values(reward, samples_of(texts, rows)))
    assert together != pytest.approx(np.mean(alone), abs=0.03)


def test_a_missing_sacrebleu_is_named_with_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    reward, row = built("corpus_bleu"), {"answer": "A cat."}
    with pytest.raises(RewardConfigError, match=r"needs sacrebleu.*essa-service\[rewards\]"):
        reward.check_row(row)
    assert "essa-service[rewards]" in str(reward.score(samples_of(["A cat."], [row]))[0].error)


LENGTHS = {"type": "length", "unit": "characters", "max": 0, "slack": 10}
"""1 - length / 10 of the completion."""


@settings(max_examples=80, deadline=None)
@given(st.lists(st.integers(0, 12), min_size=1, max_size=15), st.floats(0, 100))
def test_a_percentile_is_that_of_numpy_and_its_shares_are_leave_one_out(lengths, q) -> None:
    samples = samples_of(["x" * length for length in lengths], [{}] * len(lengths))

    def metric(samples: Sequence[Sample]) -> float:
        lengths = np.array([len(sample.completion) for sample in samples])
        return float(np.percentile(np.maximum(0, 1 - lengths / 10), q))

    check_shares(built("percentile", reward=LENGTHS, q=q), samples, metric)


def test_an_inner_reward_reports_its_values_and_parts() -> None:
    inner = {"type": "composite", "components": [{"name": "short", "reward": LENGTHS}]}
    reward = built("percentile", reward=inner, q=0)
    assert reward.component_names == ("reward", "reward.short")
    completions: list[Any] = ["x" * 4, "x" * 8, None]
    results = reward.score(samples_of(completions, [{}] * 3))
    assert [result.components["reward.short"] for result in results[:2]] == pytest.approx(
        [0.6, 0.2]
    )
    assert np.mean([result.value for result in results[:2]]) == pytest.approx(0.2)
    assert results[2].missing
    assert math.isnan(results[2].components["reward"])


def answers(groups: Sequence[Sequence[int]]) -> list[Sample]:
    """Samples of prompts whose answers are correct (1) or not (0)."""
    return [
        Sample("right" if correct else "wrong", {"answer": "right"}, group=group)
        for group, outcomes in enumerate(groups)
        for correct in outcomes
    ]


def enumerated(outcomes: Sequence[int], k: int) -> float:
    draws = list(itertools.combinations(outcomes, k))
    return sum(any(draw) for draw in draws) / len(draws)


@pytest.mark.parametrize("n", range(1, 8))
def test_pass_at_k_is_the_share_of_all_draws_with_a_correct_one(n: int) -> None:
    for c, k in itertools.product(range(n + 1), range(1, n + 1)):
        outcomes = [1] * c + [0] * (n - c)
        assert pass_at_k(n, c, k) == pytest.approx(enumerated(outcomes, k))


@pytest.mark.parametrize(
    "groups", [[[1, 0, 0], [0, 0, 0], [1, 1, 1]], [[1, 0], [0, 0, 1, 0, 0], [0, 1, 1]], [[0, 1]]]
)
def test_pass_at_k_counts_every_prompt_equally(groups) -> None:
    reward = built("pass_at_k", reward={"type": "exact_match"}, k=2)
    shares = values(reward, answers(groups))
    chances = [enumerated(outcomes, 2) for outcomes in groups]
    assert np.mean(shares) == pytest.approx(np.mean(chances))
    if len({len(group) for group in groups}) == 1:
        expected = [p for p, group in zip(chances, groups, strict=True) for _ in group]
        assert shares == pytest.approx(expected)


def test_a_prompt_with_fewer_answers_than_k_is_missing_and_names_the_setting() -> None:
    reward = built("pass_at_k", reward={"type": "exact_match"}, k=3)
    results = reward.score(answers([[1, 0], [1, 0, 0]]))
    assert [result.missing for result in results] == [True, True, False, False, False]
    assert results[0].error is not None
    for part in ("(2)", "reward.k = 3", "rollout.samples_per_prompt"):
        assert part in results[0].error
    assert np.mean([result.value for result in results[2:]]) == pytest.approx(1.0)


def test_an_answer_without_a_score_counts_neither_as_correct_nor_as_wrong() -> None:
    reward = built("pass_at_k", reward={"type": "exact_match"}, k=1)
    samples = answers([[1, 0]])
    lost = Sample("right", {}, group=0)
    kept = reward.score([*samples, lost])
    assert kept[2].missing
    assert kept[:2] == reward.score(samples)


def test_the_threshold_decides_what_is_correct() -> None:
    samples = samples_of(["x" * 4, "x" * 6], [{}] * 2)
    for threshold, expected in ((0.3, [1, 1]), (0.6, [1, 0]), (0.7, [0, 0])):
        reward = built("pass_at_k", reward=LENGTHS, threshold=threshold)
        assert values(reward, samples) == expected


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("f1", {"labels": LABELS}),
        ("balanced_accuracy", {"labels": LABELS}),
        ("corpus_bleu", {}),
        ("percentile", {"reward": {"type": "exact_match"}}),
        ("pass_at_k", {"reward": {"type": "exact_match"}}),
    ],
)
def test_a_missing_answer_is_left_out_of_the_metric(kind: str, settings: dict[str, Any]) -> None:
    reward = built(kind, **settings)
    assert reward.is_batch
    good = samples_of(["red", "green", "blue"], [{"answer": "red"}] * 3)
    no_text: Any = None
    bad = [Sample("red", {}, group=7), Sample(no_text, {"answer": "red"}, group=8)]
    results = reward.score([bad[0], *good, bad[1]])
    assert results[1:4] == reward.score(good)
    assert "no column 'answer'" in str(results[0].error)
    assert "NoneType" in str(results[4].error)
    assert [result.missing for result in reward.score(bad)] == [True, True]
    assert reward.score([]) == []


def test_equal_answers_have_equal_shares_and_all_equal_ones_have_the_metric() -> None:
    reward = built("f1", labels=LABELS)
    one, two, three = values(reward, labelled([("red", "red"), ("red", "red"), ("blue", "red")]))
    assert one == two != three
    assert values(reward, labelled([("red", "red")] * 49)) == [1.0] * 49
    assert values(reward, labelled([("red", "blue")] * 49)) == [0.0] * 49


class Fails(BatchReward):
    """A metric that no batch has."""

    def score(self, samples: Sequence[Sample]) -> list[RewardResult]:
        return self._share_out([1, RewardResult(math.nan, error="lost"), 2])

    def _metric(self, statistics: Sequence[int]) -> float:
        raise ZeroDivisionError("no positives")


def test_a_metric_that_cannot_be_computed_is_missing_for_every_answer() -> None:
    results = Fails(None, path="reward.x").score([])
    message = "reward.x: the batch has no value: ZeroDivisionError: no positives"
    assert [result.error for result in results] == [message, "lost", message]


floats = st.floats(-1e3, 1e3, allow_nan=False)


@given(floats, st.lists(floats, min_size=2, max_size=300))
def test_shares_have_the_metric_as_their_mean(whole: float, without: list[float]) -> None:
    shares = shares_of(whole, without)
    assert math.fsum(shares) / len(shares) == pytest.approx(whole, rel=1e-9, abs=1e-7)


@given(st.lists(floats, min_size=2, max_size=50))
def test_the_shares_of_a_mean_are_the_values(numbers: list[float]) -> None:
    shares = shares_of(mean_of(numbers), means_without_each(numbers))
    assert shares == pytest.approx(numbers, abs=1e-8)


def test_a_mean_that_is_only_rounding_is_zero() -> None:
    assert sum([0.1, 0.2, -0.3]) != 0
    assert mean_of([0.1, 0.2, -0.3]) == 0
    assert means_without_each([-0.9, 0.1, 0.8, 0.1])[-1] == 0
    assert mean_of([1e-300, 3e-300]) == pytest.approx(2e-300)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"type": "f1", "labels": ["yes"]}, "at least 2 items"),
        ({"type": "f1", "labels": ["yes", "YES"]}, "given twice: yes"),
        ({"type": "f1", "labels": ["yes", " "]}, "a label is blank"),
        ({"type": "f1", "labels": ["y", "n"], "average": "binary"}, "needs `positive`"),
        ({"type": "f1", "labels": ["y", "n"], "positive": "y"}, "not read with `average: macro`"),
        (
            {"type": "f1", "labels": ["y", "n"], "average": "binary", "positive": "x"},
            "positive is 'x', none of the labels y, n",
        ),
        ({"type": "percentile", "reward": LENGTHS, "q": 101}, "less than or equal to 100"),
        ({"type": "pass_at_k", "reward": LENGTHS, "k": 0}, "greater than or equal to 1"),
        ({"type": "corpus_bleu", "max_order": 0}, "greater than or equal to 1"),
        (
            {"type": "percentile", "reward": {"type": "f1", "labels": ["y", "n"]}},
            "f1 cannot stand inside",
        ),
        (
            {
                "type": "pass_at_k",
                "reward": {
                    "type": "composite",
                    "components": [{"name": "b", "reward": {"type": "corpus_bleu"}}],
                },
            },
            "composite cannot stand inside",
        ),
    ],
)
def test_a_metric_that_cannot_work_is_refused(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SPEC.validate_python(spec)
