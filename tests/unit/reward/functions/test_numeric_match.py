from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from reward.base import RewardResult
from reward.errors import RewardConfigError
from reward.functions.rules import NumericMatch
from reward.sample import Sample, samples_of
from reward.spec import NumericMatchSpec

DATA = Path(os.environ.get("ESSA_DATA_DIR") or Path(__file__).parents[4].parent / "shared" / "data")


def score(completion: str, answer: Any, **settings: Any) -> RewardResult:
    reward = NumericMatch(NumericMatchSpec(**settings))
    return reward.score([Sample(completion, {"answer": answer})])[0]


@pytest.mark.parametrize("answer", ["18", "2 * 9 = 18\n#### 18", "#### $18.00", 18, 18.0, "36/2"])
def test_the_reference_may_be_a_number_or_text_that_ends_in_one(answer: Any) -> None:
    assert score("She makes 18 dollars.", answer).value == 1
    assert score("She makes 17 dollars.", answer).value == 0


def test_only_what_follows_the_mark_counts_in_a_reference() -> None:
    with pytest.raises(RewardConfigError, match="without a number after ####"):
        NumericMatch(NumericMatchSpec()).check_row({"answer": "2 * 9 = 18\n#### eighteen"})


def test_the_last_number_of_the_completion_counts() -> None:
    assert score("First 3, then 4, so 7.", "7").value == 1
    assert score("7 is what I first thought, but it is 8.", "7").value == 0


def test_a_completion_without_a_number_scores_zero_and_is_not_missing() -> None:
    result = score("I do not know.", "7")
    assert result.value == 0
    assert not result.missing


@pytest.mark.parametrize("answer", ["seven", "", float("nan"), float("inf")])
def test_a_reference_without_a_number_is_missing(answer: Any) -> None:
    result = score("7", answer)
    assert result.missing
    assert result.error is not None
    assert "reward.reference" in result.error


def test_the_tolerance_is_absolute_and_included() -> None:
    assert score("0.667", "2/3").value == 0
    assert score("0.667", "2/3", tolerance=0.001).value == 1
    assert score("1.5", "1", tolerance=0.5).value == 1
    assert score("1.6", "1", tolerance=0.5).value == 0


def test_zero_tolerance_accepts_equal_numbers_in_another_form() -> None:
    assert score("0.75", "3/4", tolerance=0).value == 1
    assert score("2/6", "1/3", tolerance=0).value == 1


def test_another_reference_column() -> None:
    reward = NumericMatch(NumericMatchSpec(reference="gold"), "reward.components[2].reward")
    assert reward.score([Sample("5", {"gold": 5})])[0].value == 1
    with pytest.raises(RewardConfigError, match=r"reward\.components\[2\]\.reward\.reference"):
        reward.check_row({"answer": "5"})


def gsm8k_rows() -> list[dict[str, Any]]:
    path = DATA / "gsm8k" / "test.jsonl"
    if not path.is_file():
        pytest.skip("no gsm8k/test.jsonl; set ESSA_DATA_DIR to the folder that holds gsm8k/")
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def test_every_gsm8k_answer_matches_itself_and_not_its_successor() -> None:
    rows = gsm8k_rows()
    assert len(rows) == 1319
    reward = NumericMatch(NumericMatchSpec())
    finals = [row["answer"].rpartition("####")[2].strip() for row in rows]
    values = [int(final.replace(",", "")) for final in finals]
    right = {
        "full answer": [row["answer"] for row in rows],
        "marked": [f"#### {final}" for final in finals],
        "prose": [f"So it costs ${value:,}.00 in total." for value in values if value >= 0],
    }
    for row in rows:
        reward.check_row(row)
    for name in ("full answer", "marked"):
        assert [result.value for result in reward.score(samples_of(right[name], rows))] == [
            1.0
        ] * 1319, name
    positive = [row for row, value in zip(rows, values, strict=True) if value >= 0]
    assert len(positive) > 1300
    assert all(result.value == 1 for result in reward.score(samples_of(right["prose"], positive)))
    wrong = [f"#### {value + 1}" for value in values]
    assert [result.value for result in reward.score(samples_of(wrong, rows))] == [0.0] * 1319
