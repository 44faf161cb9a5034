"""Text that is printed while an item is scored, kept up to a limit."""

from __future__ import annotations

import io
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class Output(io.RawIOBase):
    """Replaces standard output and standard error, and keeps only the first bytes.

    Output that does not pass through Python, such as that of a program started by the item, goes
    to the null device.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept = bytearray()
        self._cut = False

    def install(self) -> None:
        """Take the place of the standard streams of this process."""
        null = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        os.close(null)
        self._stream = io.TextIOWrapper(io.BufferedWriter(self), "utf-8", errors="backslashreplace")
        sys.stdout = sys.stderr = sys.__stdout__ = sys.__stderr__ = self._stream

    def writable(self) -> bool:
        return True

    def write(self, data: ReadableBuffer, /) -> int:
        room = self._limit - len(self._kept)
        view = memoryview(data)
        self._kept += view[:room]
        self._cut = self._cut or len(view) > room
        return len(view)

    def take(self) -> str:
        """Return what was printed since the last call."""
        self._stream.flush()
        text = self._kept.decode("utf-8", errors="replace")
        if self._cut:
            text += f"\n[cut after {self._limit} bytes]"
        self._kept.clear()
        self._cut = False
        return text
