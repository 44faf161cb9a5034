"""What every registered reward keeps, whatever it computes."""

from __future__ import annotations

import copy
import math
import subprocess
import sys
from typing import Any, NamedTuple, get_args

import pytest
from pydantic import TypeAdapter

from reward.base import Reward
from reward.errors import RewardConfigError, RewardError
from reward.registry import REWARDS, build_reward
from reward.sample import samples_of
from reward.spec import RewardSpec, SentimentReward

SPEC = TypeAdapter(RewardSpec)


class Example(NamedTuple):
    spec: dict[str, Any]
    row: dict[str, Any]
    best: str
    worst: str
    column: str | None = None
    setting: str = ""


EXAMPLES = {
    "sentiment": Example({}, {}, "What a wonderful, lovely day!", "A horrible, awful disaster."),
    "exact_match": Example({}, {"answer": "Paris"}, "Paris", "Rome", "answer", "reward.reference"),
    "numeric_match": Example(
        {}, {"answer": "so\n#### 18"}, "It is 18.", "It is 19.", "answer", "reward.reference"
    ),
    "regex": Example({"pattern": r"\d{4}"}, {}, "in 1984", "in '84"),
    "length": Example({"max": 3}, {}, "three short words", "more than three short words"),
    "keywords": Example(
        {"column": "topic"},
        {"topic": "train"},
        "The train left.",
        "A bus.",
        "topic",
        "reward.column",
    ),
    "composite": Example(
        {
            "components": [
                {"name": "tone", "reward": {"type": "sentiment"}},
                {"name": "topic", "reward": {"type": "keywords", "column": "topic"}},
            ]
        },
        {"topic": "train"},
        "I love this wonderful train.",
        "I hate it.",
        "topic",
        "reward.components[1].reward.column",
    ),
}

every_reward = pytest.mark.parametrize("kind", sorted(EXAMPLES))


def built(kind: str) -> Reward:
    return build_reward(SPEC.validate_python({"type": kind, **EXAMPLES[kind].spec}))


def test_every_type_of_the_union_is_registered_and_under_contract() -> None:
    union = get_args(RewardSpec)[0]
    types = {member.model_fields["type"].default for member in get_args(union)}
    assert types == set(REWARDS) == set(EXAMPLES)


@every_reward
def test_a_better_completion_scores_higher(kind: str) -> None:
    example = EXAMPLES[kind]
    best, worst = built(kind).score(samples_of([example.best, example.worst], [example.row] * 2))
    assert best.error is None
    assert worst.error is None
    assert best.value > worst.value


@every_reward
def test_results_follow_the_order_of_the_completions(kind: str) -> None:
    example = EXAMPLES[kind]
    texts = [example.worst, example.best, "", example.best]
    together = built(kind).score(samples_of(texts, [example.row] * 4))
    alone = [built(kind).score(samples_of([text], [example.row]))[0] for text in texts]
    assert together == alone
    assert together[1].value > together[0].value


@every_reward
def test_an_empty_batch_gives_no_results(kind: str) -> None:
    assert built(kind).score([]) == []


@every_reward
@pytest.mark.parametrize(
    "text", ["", " \n\t", "\x00", "\ud800", "🙂" * 50, "9" * 5000, "a " * 3000]
)
def test_any_text_has_a_finite_score(kind: str, text: str) -> None:
    (result,) = built(kind).score(samples_of([text], [EXAMPLES[kind].row]))
    assert result.error is None
    assert math.isfinite(result.value)


@every_reward
def test_one_bad_item_is_missing_and_its_neighbours_are_scored(kind: str) -> None:
    example = EXAMPLES[kind]
    reward = built(kind)
    texts: list[Any] = [None, example.best, example.worst]
    bad, *good = reward.score(samples_of(texts, [example.row] * 3))
    assert bad.missing
    assert bad.error is not None
    assert "NoneType" in bad.error
    assert good == reward.score(samples_of([example.best, example.worst], [example.row] * 2))


@every_reward
def test_components_of_a_result_are_the_declared_ones_even_when_missing(kind: str) -> None:
    example = EXAMPLES[kind]
    reward = built(kind)
    texts: list[Any] = [None, example.best]
    for result in reward.score(samples_of(texts, [example.row] * 2)):
        assert tuple(result.components) == reward.component_names


def test_completions_and_rows_that_cannot_be_paired_are_refused() -> None:
    with pytest.raises(RewardError, match="2 completions came with 1 rows"):
        samples_of(["a", "b"], [{}])


@every_reward
def test_inputs_are_not_modified(kind: str) -> None:
    example = EXAMPLES[kind]
    rows = [copy.deepcopy(example.row), {}]
    completions = [example.best, example.worst]
    built(kind).score(samples_of(completions, rows))
    assert rows == [example.row, {}]
    assert completions == [example.best, example.worst]


@every_reward
def test_check_row_accepts_a_usable_row(kind: str) -> None:
    built(kind).check_row(EXAMPLES[kind].row)


reading_a_column = pytest.mark.parametrize(
    "kind", sorted(kind for kind, example in EXAMPLES.items() if example.column)
)


@reading_a_column
def test_check_row_names_missing_column_and_setting(kind: str) -> None:
    example = EXAMPLES[kind]
    with pytest.raises(RewardConfigError) as caught:
        built(kind).check_row({"question": "?"})
    assert caught.value.detail == {"field": example.setting, "column": example.column}
    for part in (f"{example.column!r}", "'question'", example.setting):
        assert part in str(caught.value)


@reading_a_column
@pytest.mark.parametrize("value", [None, True, {"a": 1}, [["nested"]], []])
def test_check_row_refuses_a_column_it_cannot_use(kind: str, value: Any) -> None:
    example = EXAMPLES[kind]
    with pytest.raises(RewardConfigError, match=r"column '\w+' is") as caught:
        built(kind).check_row({example.column: value})
    assert example.setting in str(caught.value)


@reading_a_column
def test_a_row_without_the_column_scores_missing_and_not_zero(kind: str) -> None:
    example = EXAMPLES[kind]
    lacking, whole = built(kind).score(samples_of([example.best] * 2, [{}, example.row]))
    assert lacking.missing
    assert lacking.error is not None
    assert example.setting in lacking.error
    assert not whole.missing


def test_a_type_that_is_not_registered_is_named() -> None:
    spec = SentimentReward.model_construct(type="vibes")
    with pytest.raises(RewardConfigError, match=r"reward\.type is 'vibes'.*sentiment"):
        build_reward(spec)


def test_the_package_loads_no_engine() -> None:
    heavy = ("torch", "ray", "vllm", "transformers", "peft", "essa", "workers", "alignment_api")
    code = f"import sys, reward.registry; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"
