"""Pagination of lists, as OpenAI's clients expect it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypedDict


class _Listed(Protocol):
    @property
    def id(self) -> str: ...


class Ends(TypedDict):
    """Ids of the first and last object of a page."""

    first_id: str | None
    last_id: str | None


def ends(shown: Sequence[_Listed]) -> Ends:
    """Return `first_id` and `last_id` of a page of objects with an `id`; None if it is empty."""
    return {
        "first_id": shown[0].id if shown else None,
        "last_id": shown[-1].id if shown else None,
    }
