"""Instructions `detectable_format:*`: the shape of the answer.

Every check takes the answer, the arguments of its instruction and the prompt.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from reward.ifeval.pattern import occurrences

CHOICES = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
"""The answers that `constrained_response` allows, fixed in the official program."""
_FENCES = ("```json", "```Json", "```JSON", "```")
_STARRED = re.compile(r"\*[^\n*]*\*")
_DOUBLE_STARRED = re.compile(r"\*\*[^\n*]*\*\*")


def number_bullet_lists(text: str, kwargs: Mapping[str, Any], prompt: str) -> bool:
    """Return whether exactly as many lines as required start with `*` or `-`, but not `**`."""
    lines = text.split("\n")
    dashes = sum(line.lstrip().startswith("-") for line in lines)
    return dashes + _star_bullets(lines) == kwargs["num_bullets"]


def constrained_response(text: str, kwargs: Mapping[str, Any], prompt: str) -> bool:
    """Return whether one of the allowed answers is in the text, verbatim."""
    return any(choice in text for choice in CHOICES)


def number_highlighted_sections(text: str, kwargs: Mapping[str, Any], prompt: str) -> bool:
    """Return whether enough parts are `*highlighted*` or `**highlighted**`, each within a line."""
    marked = _STARRED.findall(text) + _DOUBLE_STARRED.findall(text)
    found = sum(bool(part.strip("*").strip()) for part in marked)
    return found >= kwargs["num_highlights"]


def multiple_sections(text: str, kwargs: Mapping[str, Any], prompt: str) -> bool:
    """Return whether there are enough sections, which begin with their name and a number."""
    name = kwargs["section_spliter"].strip()
    return occurrences(rf"{name}\s?\d+", text) >= kwargs["num_sections"]


def json_format(text: str, kwargs: Mapping[str, Any], prompt: str) -> bool:
    """Return whether the whole answer is JSON, with or without a Markdown fence around it."""
    text = text.strip()
    for fence in _FENCES:
        text = text.removeprefix(fence)
    try:
        json.loads(text.removesuffix("```").strip())
    # Brackets nested too deep for Python crash the official program; here they are not JSON.
    except (ValueError, RecursionError):
        return False
    return True


def title(text: str, kwargs: Mapping[str, Any], prompt: str) -> bool:
    """Return whether some line has a `<<title>>` that is not blank."""
    return any(map(_has_title, text.split("\n")))


def _star_bullets(lines: list[str]) -> int:
    found, rest = 0, iter(lines)
    for line in rest:
        mark = line.lstrip()[:2]
        if mark == "*":
            # A lone asterisk takes the next line as its text; without a next line it is no bullet.
            found += next(rest, None) is not None
        else:
            found += mark.startswith("*") and mark != "**"
    return found


def _has_title(line: str) -> bool:
    start, end = line.find("<<"), line.rfind(">>")
    is_wrapped = start >= 0 and end > start + 2
    return is_wrapped and bool(line[start : end + 2].lstrip("<").rstrip(">").strip())
