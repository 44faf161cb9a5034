"""Which columns of a row make up a calibration text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from essa.errors import DataError

SHAPES: tuple[tuple[str, ...], ...] = (
    ("text",),
    ("messages",),
    ("prompt", "answer"),
    ("prompt", "completion"),
    ("question", "answer"),
)
"""Tried in this order; a row is taken by the first shape whose columns it has."""


def text_columns(row: Mapping[str, Any], line: int) -> tuple[str, ...]:
    """The columns of `row` that are its text: one of `SHAPES`.

    Args:
        line: of the file, counted from 1, for the message.
    Raises:
        DataError: the row has none of these shapes.
    """
    for shape in SHAPES:
        if all(column in row for column in shape):
            return shape
    wanted = ", or ".join(" and ".join(f"`{column}`" for column in shape) for shape in SHAPES)
    raise DataError(
        f"line {line}: a calibration row needs {wanted}; this one has "
        f"{', '.join(map(str, row)) or '(nothing)'}",
        line=line,
    )
