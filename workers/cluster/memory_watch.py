"""The memory that a job needs, sampled at intervals over its process and all descendants."""

from __future__ import annotations

import contextlib
import threading
from types import TracebackType

import psutil

SAMPLE_EVERY_S = 1.0
_GROWTH = 1.01


class MemoryWatch:
    """Remembers the peak memory of this process and its descendants together.

    Memory is the proportional set size, in which pages that processes share count once. Reading it
    walks all page tables, so it is read only when plain resident sizes are at a new peak. A peak
    shorter than a second can be missed.
    """

    def __init__(self, every_s: float = SAMPLE_EVERY_S) -> None:
        self._every_s = every_s
        self._peak: int | None = None
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory", daemon=True)

    @property
    def peak_bytes(self) -> int | None:
        """Peak so far; None if the system does not report it."""
        return self._peak

    def __enter__(self) -> MemoryWatch:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        own = psutil.Process()
        most = 0
        while True:
            processes = [own, *own.children(recursive=True)]
            resident = sum(map(_resident_bytes, processes))
            if resident > _GROWTH * most:
                most = resident
                total = sum(map(_proportional_bytes, processes))
                if total:
                    self._peak = max(self._peak or 0, total)
            if self._end.wait(self._every_s):
                return


def _resident_bytes(process: psutil.Process) -> int:
    with contextlib.suppress(psutil.Error):
        return process.memory_info().rss
    return 0


def _proportional_bytes(process: psutil.Process) -> int:
    with contextlib.suppress(psutil.Error, AttributeError):
        return process.memory_full_info().pss
    return 0
