"""Instructions `length_constraints:*`: how many words, sentences, paragraphs.

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
    """Runs of letters, digits and underscores, as many as asked; "don't" is two.

    Vowel signs, as those of Hindi, belong to their word; with NLTK 3.9 the official program
    cut words there, with 3.10 it does not.
    """
    return holds(len(_WORD.findall(text)), kwargs["relation"], kwargs["num_words"])


def number_sentences(text: str, kwargs: Mapping[str, Any], prompt: str) -> bool:
    """Sentences, as many as asked (`reward.ifeval.sentence`)."""
    return holds(len(split_sentences(text)), kwargs["relation"], kwargs["num_sentences"])


def number_paragraphs(text: str, kwargs: Mapping[str, Any], prompt: str) -> bool:
    """Exactly so many paragraphs, parted by `***`. Only the first and the last may be blank."""
    paragraphs = non_blank(_DIVIDER.split(text))
    return paragraphs is not None and len(paragraphs) == kwargs["num_paragraphs"]


def nth_paragraph_first_word(text: str, kwargs: Mapping[str, Any], prompt: str) -> bool:
    """So many paragraphs, parted by two newlines, and the n-th of them begins with the word.

    Blank ones do not count towards the number of paragraphs, but do in finding the n-th. Case,
    quotes before the word and punctuation after it are passed over.
    """
    paragraphs = text.split("\n\n")
    filled = sum(bool(paragraph.strip()) for paragraph in paragraphs)
    nth = int(kwargs["nth_paragraph"])
    if filled != kwargs["num_paragraphs"] or nth > filled:
        return False
    words = paragraphs[nth - 1].split(maxsplit=1)
    if not words:
        return False
    # In this order: a double quote inside a single one is passed over, the reverse is not.
    start = words[0].lstrip("'").lstrip('"')
    return _PUNCTUATION.split(start, 1)[0].lower() == kwargs["first_word"].lower()


def non_blank(parts: list[str]) -> list[str] | None:
    """The parts without a blank first or last one; None where one between them is blank."""
    inner = parts[1:-1]
    if not all(part.strip() for part in inner):
        return None
    return [part for part in parts if part.strip()]
