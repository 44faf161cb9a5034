"""How a number found in the answer is held against the one asked for."""

from __future__ import annotations

LESS_THAN, AT_LEAST = "less than", "at least"
RELATIONS = (LESS_THAN, AT_LEAST)


def holds(found: int, relation: str, asked: float) -> bool:
    """True where `found` is less than, or at least, `asked`."""
    return found < asked if relation == LESS_THAN else found >= asked
