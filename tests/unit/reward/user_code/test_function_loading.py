"""The simple rewards, apart from `numeric_match`."""

from __future__ import annotations

import time
from typing import Any

import pytest
from pydantic import TypeAdapter

from reward.base import RewardResult
from reward.errors import RewardConfigError
from reward.registry import build_reward
from reward.sample import Sample
from reward.spec import RewardSpec

SPEC = TypeAdapter(RewardSpec)


def result(completion: str, row: dict[str, Any] | None = None, **spec: Any) -> RewardResult:
    return build_reward(SPEC.validate_python(spec)).score([Sample(completion, row or {})])[0]


def value(completion: str, row: dict[str, Any] | None = None, **spec: Any) -> float:
    found = result(completion, row, **spec)
    assert found.error is None
    return found.value


# sentiment


def test_sentiment_orders_praise_neutral_and_blame_within_its_range() -> None:
    texts = ("I love it, it is great!", "The train leaves at noon.", "I hate it, it is terrible!")
    praise, neutral, blame = (value(text, type="sentiment") for text in texts)
    assert 1 >= praise > 0.5
    assert neutral == 0
    assert -1 <= blame < -0.5


def test_sentiment_understands_negation() -> None:
    assert value("It is not good.", type="sentiment") < 0 < value("It is good.", type="sentiment")


# exact_match


@pytest.mark.parametrize(
    ("completion", "settings", "expected"),
    [
        (" Paris\n", {}, 1),
        (" Paris\n", {"strip": False}, 0),
        ("paris", {}, 0),
        ("paris", {"ignore_case": True}, 1),
        ("Paris.", {}, 0),
    ],
)
def test_exact_match(completion: str, settings: dict[str, Any], expected: float) -> None:
    assert value(completion, {"answer": "Paris"}, type="exact_match", **settings) == expected


def test_exact_match_folds_case_beyond_ascii() -> None:
    row = {"answer": "Straße"}
    assert value("STRASSE", row, type="exact_match", ignore_case=True) == 1


def test_exact_match_compares_a_number_as_it_is_printed() -> None:
    assert value("42", {"sum": 42}, type="exact_match", reference="sum") == 1
    assert value("42.0", {"sum": 42}, type="exact_match", reference="sum") == 0


# regex


@pytest.mark.parametrize(
    ("completion", "settings", "expected"),
    [
        ("call 555-1234 now", {}, 1),
        ("call 5551234 now", {}, 0),
        ("call 555-1234 now", {"full_match": True}, 0),
        ("555-1234", {"full_match": True}, 1),
    ],
)
def test_regex(completion: str, settings: dict[str, Any], expected: float) -> None:
    assert value(completion, type="regex", pattern=r"\d{3}-\d{4}", **settings) == expected


def test_regex_case_is_folded_only_where_asked() -> None:
    assert value("YES", type="regex", pattern="yes") == 0
    assert value("YES", type="regex", pattern="yes", ignore_case=True) == 1


def test_regex_that_backtracks_forever_is_missing_after_its_timeout() -> None:
    started = time.perf_counter()
    found = result("a" * 80 + "b", type="regex", pattern=r"(a|aa)+$", timeout_s=0.1)
    assert found.missing
    assert found.error is not None
    assert "0.1 s" in found.error
    assert "reward.timeout_s" in found.error
    # Without a limit this takes longer than anyone waits.
    assert time.perf_counter() - started < 10


# length


@pytest.mark.parametrize(
    ("words", "expected"),
    [(0, 0), (1, 0), (2, 0.25), (3, 0.5), (4, 0.75), (5, 1), (8, 1), (9, 0.75), (12, 0), (50, 0)],
)
def test_length_falls_linearly_on_both_sides_of_the_band(words: int, expected: float) -> None:
    text = "word " * words
    assert value(text, type="length", min=5, max=8, slack=4) == pytest.approx(expected)


@pytest.mark.parametrize(("words", "expected"), [(4, 0), (5, 1), (8, 1), (9, 0)])
def test_length_without_slack_is_all_or_nothing(words: int, expected: float) -> None:
    assert value("word " * words, type="length", min=5, max=8) == expected


def test_length_with_one_end_leaves_the_other_open() -> None:
    assert value("word " * 1000, type="length", min=5) == 1
    assert value("", type="length", max=5) == 1


def test_length_in_characters_counts_code_points_without_the_white_space_around() -> None:
    assert value(" äöü ß \n", type="length", unit="characters", min=5, max=5) == 1


@pytest.mark.parametrize(("words", "expected"), [(5, 1), (4, 0.75), (7, 0.5), (1, 0), (9, 0)])
def test_length_falls_linearly_on_both_sides_of_a_target(words: int, expected: float) -> None:
    assert value("word " * words, type="length", target=5, slack=4) == pytest.approx(expected)


def test_length_in_tokens_is_what_the_engine_counted() -> None:
    reward = build_reward(
        SPEC.validate_python({"type": "length", "unit": "tokens", "target": 8, "slack": 4})
    )
    samples = [Sample("one word", tokens=tokens) for tokens in (8, 6, 1)]
    assert [scored.value for scored in reward.score(samples)] == [1, 0.5, 0]


def test_length_in_tokens_is_missing_for_text_that_no_model_wrote() -> None:
    found = result("three words here", type="length", unit="tokens", max=5)
    assert found.missing
    assert found.error is not None
    assert "reward.unit" in found.error
    assert "words or characters" in found.error


# keywords


def found(completion: str, *keywords: str, **settings: Any) -> float:
    return value(completion, type="keywords", keywords=keywords, **settings)


def test_keywords_are_whole_words() -> None:
    assert found("The trains are late.", "train") == 0
    assert found("The (train) is late.", "train") == 1
    assert found("strain train-spotting", "train") == 1


def test_keywords_with_punctuation_of_their_own_are_found() -> None:
    assert found("I write C++, daily.", "C++") == 1
    assert found("a+b", "a.b") == 0


def test_a_phrase_matches_across_any_white_space() -> None:
    assert found("at the  dentist\nvisit today", "dentist visit") == 1
    assert found("visit the dentist", "dentist visit") == 0


def test_keywords_fold_case_unless_told_otherwise() -> None:
    assert found("TRAIN", "train") == 1
    assert found("TRAIN", "train", ignore_case=False) == 0


def test_both_apostrophes_are_alike() -> None:
    assert found("I don’t mind", "don't") == 1


@pytest.mark.parametrize(("require", "expected"), [("share", 2 / 3), ("any", 1), ("all", 0)])
def test_keywords_are_required_as_asked(require: str, expected: float) -> None:
    text = "red and green"
    assert found(text, "red", "green", "blue", require=require) == pytest.approx(expected)


@pytest.mark.parametrize("topic", ["delayed train", ["delayed train"], ("delayed train",)])
def test_keywords_of_the_row_are_a_string_or_a_list(topic: Any) -> None:
    row = {"topic": topic}
    assert value("That delayed train!", row, type="keywords", column="topic") == 1
    assert value("That train!", row, type="keywords", column="topic") == 0


def test_keywords_of_spec_and_row_are_taken_together_and_counted_once() -> None:
    row = {"topic": ["Train", "platform"]}
    share = value("my train", row, type="keywords", keywords=["train", "bus"], column="topic")
    assert share == pytest.approx(1 / 3)


def test_an_empty_list_in_the_row_is_fine_beside_fixed_keywords() -> None:
    row: dict[str, Any] = {"topic": []}
    assert value("a bus", row, type="keywords", keywords=["bus"], column="topic") == 1
    with pytest.raises(RewardConfigError, match=r"reward\.keywords"):
        build_reward(SPEC.validate_python({"type": "keywords", "column": "topic"})).check_row(row)


@pytest.mark.parametrize("topic", ["", "  ", ["train", ""], ["train", None]])
def test_a_blank_keyword_in_the_row_is_refused(topic: Any) -> None:
    reward = build_reward(SPEC.validate_python({"type": "keywords", "column": "topic"}))
    with pytest.raises(RewardConfigError, match="not a keyword or a list of keywords"):
        reward.check_row({"topic": topic})
