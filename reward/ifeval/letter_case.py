"""Instructions `change_case:*`: capitals and small letters.

Every check takes the answer, the arguments of its instruction and the prompt.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reward.ifeval.argument import holds
from reward.ifeval.language import detect
from reward.ifeval.sentence import split_words


def english_capital(text: str, kwargs: Mapping[str, Any], prompt: str) -> bool:
    """Return whether all letters are capitals and the text is English."""
    return text.isupper() and detect(text) in ("en", None)


def english_lowercase(text: str, kwargs: Mapping[str, Any], prompt: str) -> bool:
    """Return whether all letters are small and the text is English."""
    return text.islower() and detect(text) in ("en", None)


def capital_word_frequency(text: str, kwargs: Mapping[str, Any], prompt: str) -> bool:
    """Return whether as many words (`sentence.split_words`) as required are all in capitals."""
    found = sum(word.isupper() for word in split_words(text))
    return holds(found, kwargs["capital_relation"], kwargs["capital_frequency"])
