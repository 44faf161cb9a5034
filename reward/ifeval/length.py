"""Instructions `length_constraints:*`: the number of words, sentences and paragraphs.

Every check takes the answer, the arguments of its instruction and the prompt.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import regex

from reward.ifeval.argument import holds
from reward.ifeval.sentence import split_sentences

_WORD = regex.compile(r"\w+")
_DIVIDER = re.compile(r"\s?\*{3}\s?")
_PUNCTUATION = re.compile(r"[.,?!'\"]")


def number_words(text: str, kwargs: Mapping[str, Any], prompt: str) -> bool:
    """Return whether the answer has as many words as required.

    Words are runs of letters, digits and underscores; "don't" is two. Vowel signs, such as those of
    Hindi, belong to their word; the official program splits words there with NLTK 3.9, not 3.10.
    """
    return holds(len(_WORD.findall(text)), kwargs["relation"], kwargs["num_words"])


def number_sentences(text: str, kwargs: Mapping[str, Any], prompt: str) -> bool:
    """Return whether the answer has as many sentences (`reward.ifeval.sentence`) as required."""
    return holds(len(split_sentences(text)), kwargs["relation"], kwargs["num_sentences"])


def number_paragraphs(text: str, kwargs: Mapping[str, Any], prompt: str) -> bool:
    """Return whether there are as many paragraphs as required, separated by `***`.

    Only the first and the last may be blank.
    """
    paragraphs = non_blank(_DIVIDER.split(text))
    return paragraphs is not None and len(paragraphs) == kwargs["num_paragraphs"]


def nth_paragraph_first_word(text: str, kwargs: Mapping[str, Any], prompt: str) -> bool:
    """Return whether there are as many paragraphs as required, and the n-th begins with the word.

    Two newlines separate paragraphs. Blank ones do not count towards the number, but do in finding
    the n-th. Case, quotes before the word and punctuation after it are ignored.
    """
    paragraphs = text.split("\n\n")
    filled = sum(bool(paragraph.strip()) for paragraph in paragraphs)
    nth = int(kwargs["nth_paragraph"])
    if filled != kwargs["num_paragraphs"] or nth > filled:
        return False
    words = paragraphs[nth - 1].split(maxsplit=1)
    if not words:
        return False
    # In this order: a double quote inside a single one is stripped, the reverse is not.
    start = words[0].lstrip("'").lstrip('"')
    return _PUNCTUATION.split(start, 1)[0].lower() == kwargs["first_word"].lower()


def non_blank(parts: list[str]) -> list[str] | None:
    """Return the parts without a blank first or last one; None if one between them is blank."""
    inner = parts[1:-1]
    if not all(part.strip() for part in inner):
        return None
    return [part for part in parts if part.strip()]
