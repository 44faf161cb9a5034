"""Uploaded rows are checked line by line, without being kept in memory."""

from __future__ import annotations

import io
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from alignment_api.errors import UnstorableError
from alignment_api.files.repository import FileRepository
from alignment_api.files.rows import count_rows, read_rows
from alignment_api.files.schemas import DataFile
from alignment_api.files.service import FileService
from essa.errors import DataError

LINES = 100_000


@pytest.mark.parametrize(
    ("line", "words"),
    [(b"{}\n", ""), (b"x\n", f"line 5 is not JSON: Expecting value; and {LINES - 5} more lines")],
)
def test_checking_a_file_needs_no_memory_for_its_lines(
    tmp_path: Path, line: bytes, words: str
) -> None:
    path = tmp_path / "many.jsonl"
    path.write_bytes(line * LINES)
    told = ""
    tracemalloc.start()
    try:
        assert count_rows(path) == LINES
    except DataError as error:
        told = error.message
    finally:
        _, most_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert told.endswith(words)
    assert bool(told) == bool(words)
    assert most_bytes < 2**20


@pytest.mark.parametrize("check", [read_rows, count_rows])
def test_a_line_with_too_long_a_number_is_named(
    tmp_path: Path, check: Callable[[Path], object]
) -> None:
    path = tmp_path / "long.jsonl"
    path.write_text('{"a": 1}\n{"a": ' + "1" * 5000 + "}\n")
    with pytest.raises(DataError, match="line 2 holds an integer of thousands of digits"):
        check(path)


def test_what_is_no_file_is_not_read(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    # Kept open, so that a reader would get nothing but would not be stuck for good.
    kept = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
    try:
        for path in (pipe, Path("/dev/null"), tmp_path):
            with pytest.raises(DataError, match="is no file with rows"):
                read_rows(path)
    finally:
        os.close(kept)


def test_a_file_that_the_store_refuses_is_not_kept(tmp_path: Path) -> None:
    class Refusing(FileRepository):
        def __init__(self) -> None: ...

        def add(self, file: DataFile, project_id: str) -> None:
            raise UnstorableError("a name with NUL")

    service = FileService(Refusing(), tmp_path)
    with pytest.raises(UnstorableError):
        service.upload(io.BytesIO(b"{}\n"), "a\0b", "proj_default")
    assert list(tmp_path.iterdir()) == []
