"""Pages of lists, as OpenAI's clients walk through them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def ends(shown: Sequence[Any]) -> dict[str, str | None]:
    """`first_id` and `last_id` of a page of objects that have an `id`; None where it is empty."""
    return {
        "first_id": shown[0].id if shown else None,
        "last_id": shown[-1].id if shown else None,
    }
