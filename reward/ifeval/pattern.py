"""Searching the answer for texts of the row.

The official program takes keywords, section names and postscript markers as regular expressions,
so `C.T` finds "cut". This module does the same, with a time limit for each search.
"""

from __future__ import annotations

from functools import lru_cache

import regex

from reward.errors import RewardTimeoutError

TIMEOUT_S = 1.0
"""Longest time for one search."""


def occurs(pattern: str, text: str, ignore_case: bool = False) -> bool:
    """Return whether the pattern is found.

    Raises:
        RewardTimeoutError: the search took too long.
    """
    try:
        return _compiled(pattern, ignore_case).search(text, timeout=TIMEOUT_S) is not None
    except TimeoutError as error:
        raise _too_slow(pattern) from error


def occurrences(pattern: str, text: str, ignore_case: bool = False) -> int:
    """Return the number of matches of the pattern that do not overlap.

    Raises:
        RewardTimeoutError: the search took too long.
    """
    try:
        return len(_compiled(pattern, ignore_case).findall(text, timeout=TIMEOUT_S))
    except TimeoutError as error:
        raise _too_slow(pattern) from error


@lru_cache(maxsize=4096)
def _compiled(pattern: str, ignore_case: bool) -> regex.Pattern[str]:
    return regex.compile(pattern, regex.IGNORECASE if ignore_case else 0)


def _too_slow(pattern: str) -> RewardTimeoutError:
    return RewardTimeoutError(
        f"searching for {pattern!r} gave no answer within {TIMEOUT_S} s; it is taken as a regular "
        "expression: simplify it in the row",
        pattern=pattern,
    )
