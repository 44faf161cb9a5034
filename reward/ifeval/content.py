"""Instructions `detectable_content:*`: placeholders and postscripts.

Every check takes the answer, the arguments of its instruction and the prompt.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reward.ifeval.pattern import occurs

_WITH_SPACES = {"P.S.": r"p\.\s?s\.", "P.P.S": r"p\.\s?p\.\s?s"}
"""Markers that may have a space after each period."""


def number_placeholders(text: str, kwargs: Mapping[str, Any], prompt: str) -> bool:
    """Return whether there are enough `[placeholders]`, each within a line."""
    return sum(map(_placeholders, text.split("\n"))) >= kwargs["num_placeholders"]


def postscript(text: str, kwargs: Mapping[str, Any], prompt: str) -> bool:
    """Return whether the marker of the postscript occurs anywhere, in any case."""
    marker: str = kwargs["postscript_marker"].strip()
    return occurs(_WITH_SPACES.get(marker, marker.lower()), text.lower())


def _placeholders(line: str) -> int:
    found = end = 0
    while (start := line.find("[", end)) >= 0 and (close := line.find("]", start)) >= 0:
        found, end = found + 1, close + 1
    return found
