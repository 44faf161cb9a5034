"""Select the columns of a row that make up a calibration text."""

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
"""Sets of columns in order of preference: the first set that a row has is its text."""


def text_columns(row: Mapping[str, Any], line: int) -> tuple[str, ...]:
    """Return the columns of `row` that make up its text: one of `SHAPES`.

    Args:
        line: line number in the file, counted from 1, for the error message.
    Raises:
        DataError: the row matches none of the shapes.
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
