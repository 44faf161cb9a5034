"""Instructions `keywords:*`: words and letters that must, or must not, occur.

Every check takes the answer, the arguments of its instruction and the prompt.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reward.ifeval.argument import holds
from reward.ifeval.pattern import occurrences, occurs


def existence(text: str, kwargs: Mapping[str, Any], prompt: str) -> bool:
    """Return whether all keywords occur, in any case, even inside other words."""
    return all(occurs(keyword, text, ignore_case=True) for keyword in kwargs["keywords"])


def frequency(text: str, kwargs: Mapping[str, Any], prompt: str) -> bool:
    """Return whether the keyword occurs as often as required, even inside other words."""
    found = occurrences(kwargs["keyword"].strip(), text, ignore_case=True)
    return holds(found, kwargs["relation"], kwargs["frequency"])


def forbidden_words(text: str, kwargs: Mapping[str, Any], prompt: str) -> bool:
    """Return whether none of the words occurs, in any case, as a whole word."""
    words = kwargs["forbidden_words"]
    return not any(occurs(rf"\b{word}\b", text, ignore_case=True) for word in words)


def letter_frequency(text: str, kwargs: Mapping[str, Any], prompt: str) -> bool:
    """Return whether the letter occurs as often as required, in any case.

    The official program replaces a character outside a to z, such as `#`, by a random letter; here
    the character itself is counted.
    """
    found = text.lower().count(kwargs["letter"].lower())
    return holds(found, kwargs["let_relation"], kwargs["let_frequency"])
