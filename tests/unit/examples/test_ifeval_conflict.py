"""Whether the generated prompts of examples/ifeval can be followed: which instructions meet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from reward.ifeval import verdicts

FOLDER = Path(__file__).resolve().parents[3] / "examples" / "ifeval"
LANGUAGE = "language:response_language"
# One of them holds none of the words and letters that a row forbids.
FILLERS = (
    "the children sat in the house and read all the letters",
    "these old men and their son are still there in the middle of it",
    "she had no idea at all that there is more to it than that",
)


def obey(row: dict[str, Any], filler: str) -> str:
    """An answer that follows every instruction of the row as plainly as it can be done."""
    told = dict(zip(row["instruction_id_list"], row["kwargs"], strict=True))
    given = {name: value for kwargs in row["kwargs"] for name, value in kwargs.items()}
    if "detectable_format:constrained_response" in told:
        return "My answer is no."
    core = " ".join([filler, *wanted_words(told, given)])
    if "detectable_format:json_format" in told:
        return json.dumps({"answer": core})
    core += f" {filler}" * (at_least(told, "length_constraints:number_words", "num_words") // 10)
    sentences = at_least(told, "length_constraints:number_sentences", "num_sentences")
    core += f". {filler.capitalize()}" * (sentences - 1)
    text = change_case(cut_up(core, told, given), told)
    text = text.replace("<<TITLE>>", "<<THAT>>")
    text = f"{given['prompt_to_repeat']}\n{text}" if "prompt_to_repeat" in given else text
    text += f"\n{given['postscript_marker']}" if "postscript_marker" in given else ""
    text += f" {given['end_phrase']}" if "end_phrase" in given else ""
    return f'"{text}"' if "startend:quotation" in told else text


def wanted_words(told: dict[str, Any], given: dict[str, Any]) -> list[str]:
    words = list(given.get("keywords", ()))
    words += ["[that]"] * given.get("num_placeholders", 0)
    words += ["*so*"] * given.get("num_highlights", 0)
    frequency = at_least(told, "keywords:frequency", "frequency")
    words += [given["keyword"]] * frequency if frequency else []
    letters = at_least(told, "keywords:letter_frequency", "let_frequency")
    words += [given["letter"] * letters] if letters else []
    return words + ["SO"] * at_least(
        told, "change_case:capital_word_frequency", "capital_frequency"
    )


def at_least(told: dict[str, Any], kind: str, name: str) -> int:
    """How many of something are asked for; 0 where there is no lower bound."""
    kwargs = told.get(kind, {})
    relation = next((value for key, value in kwargs.items() if key.endswith("relation")), None)
    return kwargs[name] if relation == "at least" else 0


def cut_up(core: str, told: dict[str, Any], given: dict[str, Any]) -> str:
    """The text in the parts that are asked for, with its title."""
    parts = [f"{core}."]
    if "length_constraints:nth_paragraph_first_word" in told:
        parts = [f"{core}.", *["so it is."] * (given["num_paragraphs"] - 1)]
        parts[given["nth_paragraph"] - 1] = f"{given['first_word']} {core}."
    elif "num_paragraphs" in given:
        parts = [core, "\n***\nso it is" * (given["num_paragraphs"] - 1)]
    elif "num_sections" in given:
        name = given["section_spliter"]
        parts = [f"{name} {n + 1}\n{core}" for n in range(given["num_sections"])]
    elif "combination:two_responses" in told:
        parts = [core, "******", core, "too"]
    title = ["<<title>>"] if "detectable_format:title" in told else []
    text = "\n\n".join([*title, *parts])
    return text + "\n* so" * given.get("num_bullets", 0)


def change_case(text: str, told: dict[str, Any]) -> str:
    if "change_case:english_capital" in told:
        return text.upper()
    return text.lower() if "change_case:english_lowercase" in told else text


@pytest.mark.parametrize("seed", [0, 1])
def test_some_answer_follows_all_instructions_of_a_row(load, seed: int) -> None:
    pytest.importorskip("nltk", reason="nltk is not installed")
    pytest.importorskip("langdetect", reason="langdetect is not installed")
    for row in load("make_data").build_sets(seed, {"train": 600})["train"]:
        results = []
        for filler in FILLERS:
            found = verdicts(row, obey(row, filler))
            # Which language a text is in does not touch the other instructions.
            pairs = zip(row["instruction_id_list"], found, strict=True)
            results.append(all(ok for kind, ok in pairs if kind != LANGUAGE))
        assert any(results), row


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("change_case:english_lowercase", "change_case:english_capital"),
        ("punctuation:no_comma", "detectable_format:json_format"),
        ("detectable_format:json_format", "detectable_format:number_bullet_lists"),
        ("combination:two_responses", "startend:quotation"),
        ("language:response_language", "keywords:existence"),
        ("language:response_language", "change_case:english_capital"),
        ("combination:repeat_prompt", "startend:quotation"),
        ("detectable_format:constrained_response", "punctuation:no_comma"),
        ("punctuation:no_comma", "punctuation:no_comma"),
    ],
)
def test_types_that_contradict_each_other_are_not_combined(load, left: str, right: str) -> None:
    are_compatible = load("conflict").are_compatible
    assert not are_compatible(left, right)
    assert not are_compatible(right, left)


def test_arguments_that_contradict_each_other_are_refused(load) -> None:
    instruction, can_be_followed = load("arguments").Instruction, load("conflict").can_be_followed
    fewer = {"letter": "k", "let_relation": "less than", "let_frequency": 1}
    none_of_k = instruction("keywords:letter_frequency", fewer)
    assert can_be_followed([none_of_k, instruction("keywords:existence", {"keywords": ["sea"]})])
    for other in (
        instruction("keywords:existence", {"keywords": ["book"]}),
        instruction("startend:end_checker", {"end_phrase": "Thank you."}),
    ):
        assert not can_be_followed([none_of_k, other])
    banned = instruction("keywords:forbidden_words", {"forbidden_words": ["turn"]})
    ending = instruction("startend:end_checker", {"end_phrase": "Now it is your turn."})
    assert not can_be_followed([banned, ending])
