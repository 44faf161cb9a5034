"""Finds what generated prompts share with the prompts of the test set."""

from __future__ import annotations

import re
from collections.abc import Iterable

SHINGLE = 8
"""So many words in a row that two prompts share are no coincidence."""


def words_of(text: str) -> tuple[str, ...]:
    """The words of a text in small letters, without punctuation."""
    return tuple(re.findall(r"\w+", text.lower()))


def shingles(text: str) -> set[tuple[str, ...]]:
    """All runs of `SHINGLE` words."""
    words = words_of(text)
    return {words[i : i + SHINGLE] for i in range(len(words) - SHINGLE + 1)}


def find_overlaps(
    prompts: Iterable[str], requests: Iterable[str], tested: Iterable[str]
) -> list[str]:
    """Say what generated prompts have in common with tested ones.

    Args:
        prompts: generated prompts.
        requests: what they ask for, without instructions. None may be part of a tested prompt,
            however short it is.
        tested: prompts of the test set.
    Returns:
        One line for each generated prompt or request that is not clean.
    """
    tested = list(tested)
    known = {words_of(text) for text in tested}
    runs = {run for text in tested for run in shingles(text)}
    joined = [f" {' '.join(words)} " for words in known]
    found: list[str] = []
    for prompt in prompts:
        shared = shingles(prompt) & runs
        if words_of(prompt) in known:
            found.append(f"prompt {prompt!r} is in the test set")
        elif shared:
            found.append(f"prompt {prompt!r} shares {' '.join(min(shared))!r} with the test set")
    for request in requests:
        if any(f" {' '.join(words_of(request))} " in text for text in joined):
            found.append(f"request {request!r} is part of a prompt of the test set")
    return found
