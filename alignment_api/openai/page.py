"""Pages of lists, as OpenAI's clients walk through them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypedDict


class _Listed(Protocol):
    @property
    def id(self) -> str: ...


class Ends(TypedDict):
    """Where a page begins and ends."""

    first_id: str | None
    last_id: str | None


def ends(shown: Sequence[_Listed]) -> Ends:
    """`first_id` and `last_id` of a page of objects that have an `id`; None where it is empty."""
    return {
        "first_id": shown[0].id if shown else None,
        "last_id": shown[-1].id if shown else None,
    }
