"""The 25 instruction types of IFEval: how often each occurs there, and arguments for each.

Names and meaning of the arguments are those of the published data set (Zhou et al. 2023,
arXiv:2311.07911). Numbers are kept small: a model of 135M parameters answering in some 200 tokens
must be able to follow a fair share of the instructions, or the reward is the same for all.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

AT_LEAST, LESS_THAN = "at least", "less than"
REPEAT_PROMPT = "combination:repeat_prompt"

# How often IFEval's 541 prompts have each type.
SHARES = {
    "keywords:existence": 39,
    "keywords:frequency": 42,
    "keywords:forbidden_words": 49,
    "keywords:letter_frequency": 33,
    "language:response_language": 31,
    "length_constraints:number_sentences": 52,
    "length_constraints:number_words": 52,
    "length_constraints:number_paragraphs": 27,
    "length_constraints:nth_paragraph_first_word": 12,
    "detectable_content:number_placeholders": 27,
    "detectable_content:postscript": 26,
    "detectable_format:number_bullet_lists": 31,
    "detectable_format:constrained_response": 10,
    "detectable_format:number_highlighted_sections": 48,
    "detectable_format:multiple_sections": 14,
    "detectable_format:json_format": 17,
    "detectable_format:title": 37,
    "combination:two_responses": 24,
    "combination:repeat_prompt": 41,
    "startend:end_checker": 26,
    "startend:quotation": 41,
    "change_case:capital_word_frequency": 25,
    "change_case:english_capital": 25,
    "change_case:english_lowercase": 39,
    "punctuation:no_comma": 66,
}
# Languages by langdetect's code. Those that small models have seen most of are here more often.
LANGUAGES = {
    "es": "Spanish", "fr": "French", "de": "German", "it": "Italian", "pt": "Portuguese",
    "nl": "Dutch", "ru": "Russian", "fi": "Finnish", "vi": "Vietnamese", "sw": "Swahili",
    "hi": "Hindi", "ar": "Arabic", "ko": "Korean", "bg": "Bulgarian", "ta": "Tamil",
}  # fmt: skip
LANGUAGE_CODES = ("es", "fr", "de", "it", "pt") * 4 + tuple(LANGUAGES)
END_PHRASES = (
    "That is all I have to say.",
    "See you next time!",
    "Do you agree?",
    "Take good care of yourself.",
    "And so it goes.",
    "What would you do?",
    "Good luck to you.",
    "Now it is your turn.",
    "The rest is up to you.",
    "Thank you for reading.",
    "Have a lovely day!",
    "Let me know what you think.",
)
FIRST_WORDS = (
    "today", "first", "many", "most", "when", "every", "some", "after",
    "perhaps", "finally", "once", "people", "there", "yes", "in", "this",
)  # fmt: skip
SPLITTERS = ("SECTION", "Section", "PART", "Part", "CHAPTER", "Step")
COMMON_LETTERS = "aeiorstnlhdcmpu!"
RARE_LETTERS = "qxzjkvwy"


@dataclass(frozen=True)
class Instruction:
    """One instruction: IFEval's id of its type, and the arguments its check is given."""

    id: str
    arguments: dict[str, Any]


def draw_instruction(kind: str, words: list[str], rng: random.Random) -> Instruction:
    """Draw the arguments of an instruction.

    Args:
        kind: an id of `SHARES` other than `REPEAT_PROMPT`, whose argument is the finished request.
        words: keywords still free; those that the instruction takes are removed.
    """
    return Instruction(kind, DRAWS[kind](words, rng))


def _existence(words: list[str], rng: random.Random) -> dict[str, Any]:
    return {"keywords": [_take(words, rng) for _ in range(rng.choice((1, 2)))]}


def _forbidden_words(words: list[str], rng: random.Random) -> dict[str, Any]:
    return {"forbidden_words": [_take(words, rng) for _ in range(rng.choice((1, 2)))]}


def _take(words: list[str], rng: random.Random) -> str:
    return words.pop(rng.randrange(len(words)))


def _keyword_frequency(words: list[str], rng: random.Random) -> dict[str, Any]:
    relation = _relation(rng, 31, 11)
    return {
        "relation": relation,
        "keyword": _take(words, rng),
        "frequency": rng.choice((2, 2, 2, 3, 3, 4) if relation == AT_LEAST else (2, 2, 3, 4)),
    }


def _letter_frequency(_: list[str], rng: random.Random) -> dict[str, Any]:
    relation = _relation(rng, 22, 11)
    common = relation == AT_LEAST
    return {
        "let_relation": relation,
        "letter": rng.choice(COMMON_LETTERS if common else RARE_LETTERS),
        "let_frequency": rng.choice((2, 3, 4, 5, 6, 8) if common else (1, 2, 3, 4, 5)),
    }


def _number_sentences(_: list[str], rng: random.Random) -> dict[str, Any]:
    relation = _relation(rng, 24, 28)
    numbers = (2, 3, 4, 5, 6, 8, 10) if relation == AT_LEAST else (2, 3, 4, 4, 5, 6, 8)
    return {"relation": relation, "num_sentences": rng.choice(numbers)}


def _number_words(_: list[str], rng: random.Random) -> dict[str, Any]:
    relation = _relation(rng, 34, 18)
    at_least, less_than = (30, 40, 50, 60, 80, 100, 120, 150), (20, 30, 40, 50, 60, 80, 100, 150)
    return {
        "relation": relation,
        "num_words": rng.choice(at_least if relation == AT_LEAST else less_than),
    }


def _nth_paragraph(_: list[str], rng: random.Random) -> dict[str, Any]:
    paragraphs = rng.choice((2, 2, 3, 3, 4))
    return {
        "num_paragraphs": paragraphs,
        "nth_paragraph": rng.choice((1, rng.randint(1, paragraphs))),
        "first_word": rng.choice(FIRST_WORDS),
    }


def _sections(_: list[str], rng: random.Random) -> dict[str, Any]:
    return {"section_spliter": rng.choice(SPLITTERS), "num_sections": rng.choice((2, 2, 3, 3, 4))}


def _capital_words(_: list[str], rng: random.Random) -> dict[str, Any]:
    relation = _relation(rng, 18, 7)
    return {
        "capital_relation": relation,
        "capital_frequency": rng.choice((1, 2, 3, 4, 5) if relation == AT_LEAST else (2, 3, 4, 6)),
    }


def _relation(rng: random.Random, at_least: int, less_than: int) -> str:
    """One of the two relations; the numbers are how often IFEval has each."""
    return rng.choices((AT_LEAST, LESS_THAN), (at_least, less_than))[0]


def _one(name: str, values: tuple[Any, ...]) -> Callable[[list[str], random.Random], dict]:
    """An instruction with a single argument, one of `values`."""
    return lambda _, rng: {name: rng.choice(values)}


def _none(_: list[str], __: random.Random) -> dict[str, Any]:
    return {}


DRAWS: dict[str, Callable[[list[str], random.Random], dict[str, Any]]] = {
    **dict.fromkeys(SHARES, _none),
    "keywords:existence": _existence,
    "keywords:frequency": _keyword_frequency,
    "keywords:forbidden_words": _forbidden_words,
    "keywords:letter_frequency": _letter_frequency,
    "language:response_language": _one("language", LANGUAGE_CODES),
    "length_constraints:number_sentences": _number_sentences,
    "length_constraints:number_words": _number_words,
    "length_constraints:number_paragraphs": _one("num_paragraphs", (2, 2, 3, 3, 4)),
    "length_constraints:nth_paragraph_first_word": _nth_paragraph,
    "detectable_content:number_placeholders": _one("num_placeholders", (1, 1, 2, 2, 3, 3, 4, 5)),
    "detectable_content:postscript": _one("postscript_marker", ("P.S.", "P.P.S")),
    "detectable_format:number_bullet_lists": _one("num_bullets", (2, 3, 3, 3, 4, 4, 5, 6)),
    "detectable_format:number_highlighted_sections": _one("num_highlights", (1, 1, 2, 2, 3, 4)),
    "detectable_format:multiple_sections": _sections,
    "startend:end_checker": _one("end_phrase", END_PHRASES),
    "change_case:capital_word_frequency": _capital_words,
}
