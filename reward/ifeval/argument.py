"""Arguments of instructions, and the values that each can have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import regex

from reward.column import as_list

LESS_THAN, AT_LEAST = "less than", "at least"
RELATIONS = (LESS_THAN, AT_LEAST)
"""Comparisons of the number found in the answer with the number required."""


@dataclass(frozen=True)
class Argument:
    """One named argument.

    Attributes:
        wanted: description of a usable value, for messages.
        usable: function that returns whether a value is usable.
        optional: whether the argument may be missing or null.
    """

    name: str
    wanted: str
    usable: Callable[[Any], bool]
    optional: bool = False


def count(name: str, least: int = 0) -> Argument:
    """Return an argument for whole numbers; 3.0 counts too, as tables with gaps store 3."""
    return Argument(name, f"a whole number, {least} or more", lambda value: _whole(value, least))


def relation(name: str) -> Argument:
    """Return an argument for one of `RELATIONS`."""
    wanted = " or ".join(repr(known) for known in RELATIONS)
    return Argument(name, wanted, lambda value: value in RELATIONS)


def text(name: str, optional: bool = False) -> Argument:
    """Return an argument for text that is not blank."""
    return Argument(name, "text that is not blank", _is_text, optional)


def pattern(name: str) -> Argument:
    """Return an argument for text that is searched for as a regular expression."""
    return Argument(name, "text that is a regular expression", _is_pattern)


def patterns(name: str) -> Argument:
    """Return an argument for a list of texts that are regular expressions."""
    wanted = "a list of texts, each a regular expression"
    return Argument(name, wanted, _are_patterns)


def letter(name: str) -> Argument:
    """Return an argument for a single character."""
    return Argument(name, "one character", lambda value: _is_text(value) and len(value) == 1)


def _whole(value: Any, least: int) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and value >= least and float(value).is_integer()


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _are_patterns(value: Any) -> bool:
    parts = as_list(value)
    return parts is not None and all(map(_is_pattern, parts))


def _is_pattern(value: Any) -> bool:
    if not _is_text(value):
        return False
    try:
        regex.compile(value)
    except regex.error:
        return False
    return True


def holds(found: int, relation: str, asked: float) -> bool:
    """Return whether `found` is less than, or at least, `asked`, as `relation` says."""
    return found < asked if relation == LESS_THAN else found >= asked
