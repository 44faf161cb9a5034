"""The checks of `reward.ifeval`, held against verdicts of the official program.

`data/ifeval_verdicts.jsonl` holds what the official checkers said, as lm-eval 0.4.13 bundles them,
with NLTK 3.10 and the English Punkt data. Each line is an answer to one of the 541 prompts, its
instructions and the official verdicts. Left out are answers over 400 characters, letters in whose
place the official program draws one, and answers with a verdict that needs the trained Punkt data.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import langdetect
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reward.errors import RewardConfigError, RewardTimeoutError
from reward.ifeval import KNOWN_IDS, follow, verdicts
from reward.ifeval.sentence import split_sentences
from reward.ifeval.verdict import loose_forms

FROZEN = [
    json.loads(line)
    for line in (Path(__file__).parent / "data" / "ifeval_verdicts.jsonl")
    .read_text("utf-8")
    .splitlines()
]
MODES = ("strict", "loose")


def row_of(frozen: dict[str, Any]) -> dict[str, Any]:
    return {"instruction_id_list": frozen["ids"], "kwargs": frozen["kwargs"]}


@pytest.mark.parametrize("mode", MODES)
def test_verdicts_are_those_of_the_official_program(mode: str) -> None:
    wrong = []
    for frozen in FROZEN:
        found = verdicts(row_of(frozen), frozen["answer"], loose=mode == "loose")
        if found != frozen[mode]:
            wrong.append((frozen["key"], frozen["ids"], frozen["answer"], found))
    assert wrong == []


def test_the_frozen_verdicts_show_both_of_every_kind() -> None:
    seen = defaultdict(set)
    for frozen in FROZEN:
        for mode in MODES:
            for kind, verdict in zip(frozen["ids"], frozen[mode], strict=True):
                seen[kind, mode].add(verdict)
    assert len(KNOWN_IDS) == 25
    assert set(seen) == {(kind, mode) for kind in KNOWN_IDS for mode in MODES}
    assert all(both == {True, False} for both in seen.values())
    assert any(frozen["strict"] != frozen["loose"] for frozen in FROZEN)


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet='aB *-\n."<>[],1', max_size=60))
def test_what_is_followed_strictly_is_followed_loosely(answer: str) -> None:
    for row in map(row_of, FROZEN[::20]):
        pairs = zip(verdicts(row, answer), verdicts(row, answer, loose=True), strict=True)
        assert all(loose or not strict for strict, loose in pairs)


@pytest.mark.parametrize("answer", ["", " ", "\n\t"])
@pytest.mark.parametrize("loose", [False, True])
def test_a_blank_answer_follows_nothing(answer: str, loose: bool) -> None:
    row = {"instruction_id_list": ["punctuation:no_comma"], "kwargs": [None]}
    assert verdicts(row, answer, loose) == [False]
    assert not follow("punctuation:no_comma", {}, "", answer)


def test_loose_forms_are_eight_combinations_each_once() -> None:
    forms = loose_forms("Sure:\n*one*\nBye")
    assert forms == [
        "Sure:\n*one*\nBye",
        "*one*\nBye",
        "Sure:\n*one*",
        "*one*",
        "Sure:\none\nBye",
        "one\nBye",
        "Sure:\none",
        "one",
    ]
    assert loose_forms("one") == ["one"]
    assert loose_forms(" \n*") == [" \n*", "*"]


# Arguments


def test_arguments_that_are_null_are_passed_over() -> None:
    nulls = {"num_words": None, "keywords": None, "relation": None}
    assert follow("punctuation:no_comma", nulls, "", "no comma")
    assert follow("keywords:existence", {**nulls, "keywords": ["comma"]}, "", "no comma")
    assert follow("punctuation:no_comma", None, "", "no comma")


def test_a_count_may_be_a_float_without_a_fraction() -> None:
    kwargs = {"num_paragraphs": 2.0, "nth_paragraph": 2.0, "first_word": "so"}
    assert follow("length_constraints:nth_paragraph_first_word", kwargs, "", "One.\n\nSo two.")


@pytest.mark.parametrize(
    ("kind", "kwargs", "message"),
    [
        ("length_constraints:number_words", {"num_words": 3}, "lacks `relation`"),
        (
            "length_constraints:number_words",
            {"num_words": 3, "relation": "more than"},
            "'more than'; it takes 'less than' or 'at least'",
        ),
        ("length_constraints:number_paragraphs", {"num_paragraphs": True}, "num_paragraphs` True"),
        ("length_constraints:number_paragraphs", {"num_paragraphs": -1}, "0 or more"),
        ("length_constraints:number_paragraphs", {"num_paragraphs": 1.5}, "a whole number"),
        ("length_constraints:number_paragraphs", {"num_paragraphs": float("inf")}, "whole number"),
        ("length_constraints:number_paragraphs", {"num_paragraphs": "3"}, "a whole number"),
        ("keywords:existence", {"keywords": "word"}, "a list of texts"),
        ("keywords:existence", {"keywords": ["a(b"]}, "a regular expression"),
        ("keywords:existence", {"keywords": [" "]}, "a list of texts"),
        ("keywords:letter_frequency", {"letter": "ab"}, "one character"),
        ("language:response_language", {"language": "zh"}, "a code that langdetect knows"),
        ("language:response_language", {"language": ["en"]}, "a code that langdetect knows"),
        ("startend:end_checker", {"end_phrase": ""}, "not blank"),
        ("punctuation:no_comma", {"num_words": 3}, "does not take `num_words`"),
        ("punctuation:no_period", {}, "is no instruction; known are change_case:"),
    ],
)
def test_arguments_that_cannot_be_used_are_named(
    kind: str, kwargs: dict[str, Any], message: str
) -> None:
    with pytest.raises(RewardConfigError, match=kind) as caught:
        follow(kind, kwargs, "", "text")
    assert message in str(caught.value)


# Single instructions


def test_a_keyword_is_a_regular_expression_in_any_case() -> None:
    assert follow("keywords:existence", {"keywords": ["c.t"]}, "", "Recut it.")
    assert not follow("keywords:forbidden_words", {"forbidden_words": ["C.T"]}, "", "I cut it.")
    assert follow("keywords:forbidden_words", {"forbidden_words": ["c.t"]}, "", "Recut it.")


def test_a_keyword_that_backtracks_forever_is_given_up() -> None:
    started = time.perf_counter()
    with pytest.raises(RewardTimeoutError, match=r"simplify it in the row"):
        follow("keywords:existence", {"keywords": ["(a|aa)+$"]}, "", "a" * 80 + "b")
    # Without a limit this takes longer than anyone waits.
    assert time.perf_counter() - started < 10


def test_a_letter_may_be_any_character() -> None:
    kwargs = {"letter": "#", "let_relation": "at least", "let_frequency": 2}
    assert follow("keywords:letter_frequency", kwargs, "", "## title")
    assert not follow("keywords:letter_frequency", kwargs, "", "# title")


def test_vowel_signs_belong_to_their_word() -> None:
    kwargs = {"relation": "less than", "num_words": 6}
    assert follow("length_constraints:number_words", kwargs, "", "यह बड़े शहर के मौसम")


def test_what_is_repeated_is_the_prompt_where_the_arguments_do_not_say() -> None:
    kind, prompt = "combination:repeat_prompt", "Say it again."
    assert follow(kind, {}, prompt, "say it again. It.")
    assert not follow(kind, {"prompt_to_repeat": "Say it."}, prompt, "Say it again. It.")
    assert follow(kind, {"prompt_to_repeat": "Say it."}, prompt, "Say it. It.")


@pytest.mark.parametrize("answer", ["[" * 100_000, '{"a":' * 100_000, "9" * 5000])
def test_json_that_python_cannot_read_is_no_json(answer: str) -> None:
    assert not follow("detectable_format:json_format", {}, "", answer)


@pytest.mark.parametrize("answer", ["[" * 16_000, "<" * 16_000, "\n" * 16_000 + "x", "*" * 16_000])
def test_odd_long_answers_are_checked_at_once(answer: str) -> None:
    started = time.perf_counter()
    follow("detectable_content:number_placeholders", {"num_placeholders": 1}, "", answer)
    follow("detectable_format:number_bullet_lists", {"num_bullets": 1}, "", answer)
    follow("detectable_format:title", {}, "", answer)
    # Each takes a millisecond; quadratic in the length, they would take seconds.
    assert time.perf_counter() - started < 0.5


# Sentences


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("no end", 1),
        ("It was 3.5 km. He ran.", 2),
        ("Really?! Yes!", 2),
        ("Dr. Smith came at 5 p.m. today.", 1),
        ("J. Doe wrote it.", 1),
        ("See i.e. this one.", 2),
        ("1. Milk\n2. Eggs", 3),
        ("Well... I went home.", 2),
        ("Well... and then?", 1),
        ('He said "Go." She went.', 2),
    ],
)
def test_sentences_are_counted_as_punkt_does(text: str, sentences: int) -> None:
    assert len(split_sentences(text)) == sentences


@pytest.mark.parametrize(
    ("text", "sentences"),
    [("Well... Please sit.", 2), ("He lives in Calif. Near the sea.", 1)],
)
def test_sentences_are_exact_with_the_trained_data(text: str, sentences: int) -> None:
    pytest.importorskip("punkt")
    assert len(split_sentences(text)) == sentences


# Languages and libraries


def test_a_language_is_the_same_every_time_in_every_thread() -> None:
    text = "no es un plan de la casa"
    kinds = ["language:response_language"] * 64
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda kind: follow(kind, {"language": "es"}, "", text), kinds))
    assert len(set(found)) == 1


def test_the_seed_of_the_process_is_left_alone() -> None:
    follow("language:response_language", {"language": "en"}, "", "This is English.")
    assert langdetect.DetectorFactory.seed is None


def test_a_library_that_is_not_installed_is_named_with_the_extra() -> None:
    code = (
        "import sys; sys.modules['langdetect'] = None\n"
        "from reward.ifeval import follow\n"
        "try: follow('language:response_language', {'language': 'en'}, '', 'text')\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    shown = run(code)
    assert shown.startswith("RewardConfigError language:response_language needs langdetect")
    assert "pip install 'essa-service[rewards]'" in shown


def test_libraries_are_loaded_only_by_instructions_that_need_them() -> None:
    code = (
        "import sys; from reward.ifeval import follow\n"
        "follow('punctuation:no_comma', {}, '', 'text')\n"
        "print([name for name in ('nltk', 'langdetect', 'punkt') if name in sys.modules])"
    )
    assert run(code) == "[]"


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.strip()
