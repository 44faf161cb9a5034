"""Read JSONL files and report unusable lines."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from essa.errors import DataError

_SHOWN_ERRORS = 5


class NumberedRow(NamedTuple):
    """A row and the number of its line, counted from 1."""

    line: int
    columns: dict[str, Any]


def read_rows(path: Path, limit: int | None = None, name: str | None = None) -> list[NumberedRow]:
    """Read the rows of a JSONL file, skipping blank lines.

    Args:
        path: the file.
        limit: maximum number of rows to read.
        name: name of the file in errors; its path by default.
    Raises:
        DataError: the file is unreadable, has no rows, or has lines that are not JSON objects; the
            message gives the numbers of the first few.
    """
    return list(_rows(path, limit, name or str(path)))


def count_rows(path: Path, name: str | None = None) -> int:
    """Check a JSONL file as `read_rows` does, one row in memory at a time; return their number.

    Raises:
        DataError: see `read_rows`.
    """
    return sum(1 for _ in _rows(path, None, name or str(path)))


def _rows(path: Path, limit: int | None, shown: str) -> Iterator[NumberedRow]:
    count = 0
    faults = _Faults()
    try:
        # Reading a pipe would block, and a device has no end.
        if not stat.S_ISREG(path.stat().st_mode):
            raise DataError(f"{shown} is no file with rows; name a JSONL file", path=str(path))
        with path.open("rb") as file:
            for line, text in enumerate(file, start=1):
                if not text.strip():
                    continue
                if limit is not None and count >= limit:
                    break
                columns = _read_line(line, text, faults)
                if columns is not None:
                    count += 1
                    yield NumberedRow(line, columns)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{shown} cannot be read: {reason}", path=str(path)) from error
    if faults.count:
        raise DataError(f"{shown}: {faults}")
    if not count:
        raise DataError(f"{shown} has no rows; it needs one JSON object per line")


class _Faults:
    """Messages for the first few faults, and the number of all: a file may have millions."""

    def __init__(self) -> None:
        self.count = 0
        self._shown: list[str] = []

    def add(self, line: int, problem: str) -> None:
        self.count += 1
        if len(self._shown) < _SHOWN_ERRORS:
            self._shown.append(f"line {line} {problem}")

    def __str__(self) -> str:
        more = self.count - len(self._shown)
        return "; ".join(self._shown) + (f"; and {more} more lines" if more > 0 else "")


def _read_line(line: int, text: bytes, faults: _Faults) -> dict[str, Any] | None:
    try:
        value = json.loads(text.decode("utf-8-sig" if line == 1 else "utf-8"))
    except UnicodeDecodeError:
        faults.add(line, "is not UTF-8")
    except json.JSONDecodeError as error:
        faults.add(line, f"is not JSON: {error.msg}")
    except RecursionError:
        faults.add(line, "is not JSON: nested too deeply")
    except ValueError:  # raised by Python alone: JSON has no such limit
        faults.add(line, "holds an integer of thousands of digits")
    else:
        if isinstance(value, dict):
            return value
        faults.add(line, f"holds {type(value).__name__}, not a JSON object")
    return None
