from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reward.functions.rules import Repetition
from reward.sample import Sample
from reward.spec import RepetitionSpec


def value(text: str, **settings: Any) -> float:
    (result,) = Repetition(RepetitionSpec(**settings)).score([Sample(text)])
    assert result.error is None
    return result.value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a b c d", 1),
        ("a b c a b c", 3 / 4),
        ("a b a b a b", 2 / 4),
        ("a a a a a", 1 / 3),
        ("a\nb  c a\tb c", 3 / 4),
    ],
)
def test_the_value_is_the_share_of_distinct_word_trigrams(text: str, expected: float) -> None:
    assert value(text) == pytest.approx(expected)


@pytest.mark.parametrize("text", ["", " ", "a", "a a"])
def test_a_text_too_short_for_one_ngram_scores_one(text: str) -> None:
    assert value(text) == 1


def test_the_length_of_the_ngrams_is_a_setting() -> None:
    assert value("to be or not to be", n=1) == pytest.approx(4 / 6)
    assert value("to be or not to be", n=2) == pytest.approx(4 / 5)
    assert value("to be or not to be", n=3) == 1


def test_case_is_folded_unless_told_otherwise() -> None:
    assert value("No no NO", n=1) == pytest.approx(1 / 3)
    assert value("No no NO", n=1, ignore_case=False) == 1


def test_characters_find_repeats_in_text_without_blanks() -> None:
    assert value("好好好好好") == 1
    assert value("好好好好好", unit="characters") == pytest.approx(1 / 3)
    assert value(" ab\n ab ", unit="characters", n=2) == value("ab ab", unit="characters", n=2)


@given(st.lists(st.sampled_from("abc"), max_size=30), st.integers(1, 5))
def test_saying_it_all_again_never_scores_higher(words: list[str], n: int) -> None:
    text = " ".join(words)
    once, twice = value(text, n=n), value(f"{text} {text}", n=n)
    assert 0 < twice <= 1
    # The seam adds at most n - 1 n-grams that were not there.
    if len(words) >= 2 * n:
        assert twice <= once


@given(st.lists(st.sampled_from("abcdef"), max_size=30), st.permutations("abcdef"))
def test_only_what_repeats_counts_and_not_which_words(words: list[str], names: list[str]) -> None:
    renamed = [dict(zip("abcdef", names, strict=True))[word] for word in words]
    assert value(" ".join(words)) == value(" ".join(renamed))
