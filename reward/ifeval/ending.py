"""Instructions `startend:*` and `punctuation:*`: how an answer starts, ends and is punctuated.

Every check takes the answer, the arguments of its instruction and the prompt.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def end_checker(text: str, kwargs: Mapping[str, Any], prompt: str) -> bool:
    """Return whether the answer ends with the phrase, ignoring case and surrounding quotes."""
    return text.strip().strip('"').lower().endswith(kwargs["end_phrase"].strip().lower())


def quotation(text: str, kwargs: Mapping[str, Any], prompt: str) -> bool:
    """Return whether the whole answer is in double quotes."""
    text = text.strip()
    return len(text) > 1 and text[0] == text[-1] == '"'


def no_comma(text: str, kwargs: Mapping[str, Any], prompt: str) -> bool:
    """Return whether the answer has no comma."""
    return "," not in text
