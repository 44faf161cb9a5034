"""The reward `ifeval` and the metrics of the paper."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter

from reward.base import Reward
from reward.errors import RewardConfigError, RewardError
from reward.ifeval.report import report
from reward.registry import build_reward
from reward.sample import Sample
from reward.spec import RewardSpec

SPEC = TypeAdapter(RewardSpec)
ROW: dict[str, Any] = {
    "prompt": "Name a fruit without a comma, in one word or two.",
    "instruction_id_list": ["punctuation:no_comma", "length_constraints:number_words"],
    "kwargs": [
        {"num_words": None, "relation": None},
        {"num_words": 3, "relation": "less than"},
    ],
}


def built(**spec: Any) -> Reward:
    return build_reward(SPEC.validate_python({"type": "ifeval", **spec}))


def value(completion: str, row: dict[str, Any] = ROW, **spec: Any) -> float:
    (result,) = built(**spec).score([Sample(completion, row)])
    assert result.error is None
    return result.value


@pytest.mark.parametrize(
    ("completion", "share", "whole"),
    [("An apple", 1, 1), ("An, apple", 0.5, 0), ("An, apple, say", 0, 0), ("", 0, 0)],
)
def test_the_score_is_the_share_followed_or_1_where_all_are(
    completion: str, share: float, whole: float
) -> None:
    assert value(completion) == share
    assert value(completion, score="all") == whole


def test_loose_scores_pass_over_a_preamble() -> None:
    completion = "Sure, here it is:\nAn apple"
    assert value(completion) == 0
    assert value(completion, strict=False) == 1


def test_columns_may_have_other_names() -> None:
    row = {"ids": ROW["instruction_id_list"], "arguments": ROW["kwargs"]}
    assert value("An apple", row, instructions="ids", kwargs="arguments") == 1


def test_the_prompt_is_asked_for_only_where_it_is_read() -> None:
    row = {"instruction_id_list": ["combination:repeat_prompt"], "kwargs": [{}]}
    with pytest.raises(RewardConfigError, match=r"no column 'question'.*reward\.prompt"):
        built(prompt="question").check_row(row)
    with pytest.raises(RewardConfigError, match=r"column 'prompt' is not text: 3"):
        built().check_row({**row, "prompt": 3})
    assert value("Hello. And bye.", {**row, "prompt": "Hello."}) == 1
    built().check_row({**row, "kwargs": [{"prompt_to_repeat": "Hello."}]})


@pytest.mark.parametrize(
    ("change", "column", "message"),
    [
        ({"instruction_id_list": "punctuation:no_comma"}, "instruction_id_list", "not a list"),
        ({"instruction_id_list": ["no_comma"] * 2}, "instruction_id_list", "'no_comma' is no"),
        ({"kwargs": {}}, "kwargs", "not a list of 2 objects"),
        ({"kwargs": [{}]}, "kwargs", "not a list of 2 objects"),
        ({"kwargs": [{}, "x"]}, "kwargs", "not a list of objects"),
        ({"kwargs": None}, "kwargs", "null"),
        ({"kwargs": [{}, {}]}, "kwargs", "number_words lacks `relation`"),
        ({"kwargs": [{"n": 1}, ROW["kwargs"][1]]}, "kwargs", "no_comma does not take `n`"),
    ],
)
def test_check_row_names_column_setting_and_fault(
    change: dict[str, Any], column: str, message: str
) -> None:
    setting = {"instruction_id_list": "reward.instructions", "kwargs": "reward.kwargs"}[column]
    with pytest.raises(RewardConfigError, match=f"column '{column}' is") as caught:
        built().check_row({**ROW, **change})
    assert message in str(caught.value)
    assert f"correct the row or change {setting}" in str(caught.value)
    assert caught.value.detail == {"field": setting, "column": column}


def test_a_row_that_cannot_be_used_is_missing_and_not_zero() -> None:
    bad, good = built().score([Sample("An apple", {**ROW, "kwargs": []}), Sample("An apple", ROW)])
    assert bad.missing
    assert bad.error is not None
    assert "reward.kwargs" in bad.error
    assert good.value == 1


# Metrics of the paper


def test_the_report_counts_prompts_instructions_and_kinds() -> None:
    single = {"instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}
    answers = ["An apple", "Well, then:\nan apple", "Yes, no"]
    found = report([ROW, ROW, single], answers)
    assert found.prompts == 3
    assert found.counts == {"length_constraints:number_words": 2, "punctuation:no_comma": 3}
    assert found.strict.prompt == pytest.approx(1 / 3)
    assert found.strict.instruction == pytest.approx(2 / 5)
    assert found.strict.by_type == {
        "length_constraints:number_words": 0.5,
        "punctuation:no_comma": pytest.approx(1 / 3),
    }
    assert found.loose.prompt == pytest.approx(2 / 3)
    assert found.loose.instruction == pytest.approx(4 / 5)
    assert found.loose.by_type["length_constraints:number_words"] == 1


def test_a_report_needs_an_answer_for_every_row() -> None:
    with pytest.raises(RewardError, match="1 answers came with 2 rows"):
        report([ROW, ROW], ["An apple"])
    with pytest.raises(RewardError, match="0 answers came with 0 rows"):
        report([], [])
