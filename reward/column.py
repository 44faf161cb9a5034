"""Reading columns of the user's rows, with messages that name the column and the setting."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence
from typing import Any, cast

from reward.errors import RewardConfigError


def read_column(row: Mapping[str, Any], column: str, setting: str) -> Any:
    """Return the value of a column.

    Args:
        row: the row as the user wrote it.
        column: the column's name.
        setting: the full name of the setting that holds `column`, for the message.
    Raises:
        RewardConfigError: the row has no such column, or it is null.
    """
    if column not in row:
        present = ", ".join(repr(name) for name in row) or "none"
        raise RewardConfigError(
            f"the row has no column {column!r} (its columns: {present}); "
            f"add it to the data or change {setting}",
            field=setting,
            column=column,
        )
    if row[column] is None:
        raise unusable(row, column, setting, "null")
    return row[column]


def as_text(value: Any) -> str | None:
    """Return text for a string or a number, None for anything else (a boolean included)."""
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return None


def as_list(value: Any) -> list[Any] | None:
    """Return a list for a list or a tuple, None for anything else."""
    return list(cast("Sequence[Any]", value)) if isinstance(value, list | tuple) else None


def as_texts(value: Any) -> list[str | None]:
    """Return `as_text` of each item of a list; anything else counts as a list of one item."""
    parts = as_list(value)
    return [as_text(part) for part in ([value] if parts is None else parts)]


def unusable(
    row: Mapping[str, Any], column: str, setting: str, problem: str = "unusable"
) -> RewardConfigError:
    """Return the error for a column that exists but cannot be used."""
    return RewardConfigError(
        f"column {column!r} is {problem}: {reprlib.repr(row[column])}; "
        f"correct the row or change {setting}",
        field=setting,
        column=column,
    )
