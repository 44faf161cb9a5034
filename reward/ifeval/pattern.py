"""Texts of the row that the answer is searched for.

The official program takes keywords, section names and postscript markers as regular expressions,
so `C.T` finds "cut". So does this one, with a limit on the time a search may take.
"""

from __future__ import annotations

from functools import lru_cache

import regex

from reward.errors import RewardTimeoutError

TIMEOUT_S = 1.0
"""A search that takes longer is given up."""


def occurs(pattern: str, text: str, ignore_case: bool = False) -> bool:
    """True where the pattern is found.

    Raises:
        RewardTimeoutError: the search took too long.
    """
    try:
        return _compiled(pattern, ignore_case).search(text, timeout=TIMEOUT_S) is not None
    except TimeoutError as error:
        raise _too_slow(pattern) from error


def occurrences(pattern: str, text: str, ignore_case: bool = False) -> int:
    """Number of places where the pattern is found, none overlapping another.

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
