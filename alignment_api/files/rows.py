"""Read JSONL and say which lines are unusable."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from essa.errors import DataError

_SHOWN_ERRORS = 5


class NumberedRow(NamedTuple):
    """A row and its line in the file, counted from 1 as editors do."""

    line: int
    columns: dict[str, Any]


def read_rows(path: Path, limit: int | None = None, name: str | None = None) -> list[NumberedRow]:
    """Read the rows of a JSONL file; blank lines are passed over.

    Args:
        path: the file.
        limit: stop after this many rows.
        name: what to call the file in errors; its path by default.
    Raises:
        DataError: unreadable, without rows, or with lines that are not JSON objects; the message
            gives the numbers of the first few.
    """
    shown = name or str(path)
    rows: list[NumberedRow] = []
    faults: list[str] = []
    try:
        with path.open("rb") as file:
            for line, text in enumerate(file, start=1):
                if not text.strip():
                    continue
                if limit is not None and len(rows) >= limit:
                    break
                _read_line(line, text, rows, faults)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{shown} cannot be read: {reason}", path=str(path)) from error
    if faults:
        more = len(faults) - _SHOWN_ERRORS
        tail = f"; and {more} more lines" if more > 0 else ""
        raise DataError(f"{shown}: {'; '.join(islice(faults, _SHOWN_ERRORS))}{tail}")
    if not rows:
        raise DataError(f"{shown} has no rows; it needs one JSON object per line")
    return rows


def _read_line(line: int, text: bytes, rows: list[NumberedRow], faults: list[str]) -> None:
    try:
        value = json.loads(text.decode("utf-8-sig" if line == 1 else "utf-8"))
    except UnicodeDecodeError:
        faults.append(f"line {line} is not UTF-8")
    except (json.JSONDecodeError, RecursionError) as error:
        reason = getattr(error, "msg", "nested too deeply")
        faults.append(f"line {line} is not JSON: {reason}")
    else:
        if isinstance(value, dict):
            rows.append(NumberedRow(line, value))
        else:
            faults.append(f"line {line} holds {type(value).__name__}, not a JSON object")
