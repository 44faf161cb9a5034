"""How much memory a job needs: its process and all that it has started, sampled now and then."""

from __future__ import annotations

import contextlib
import threading
from types import TracebackType

import psutil

SAMPLE_EVERY_S = 1.0


class MemoryWatch:
    """Remembers the most memory that this process and its descendants had together.

    Proportional set sizes, so that pages which processes share count once. A peak shorter than
    a second can be missed.
    """

    def __init__(self, every_s: float = SAMPLE_EVERY_S) -> None:
        self._every_s = every_s
        self._peak: int | None = None
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory", daemon=True)

    @property
    def peak_bytes(self) -> int | None:
        """So far; None where the system does not tell."""
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
        while True:
            total = sum(map(_bytes_of, [own, *own.children(recursive=True)]))
            if total:
                self._peak = max(self._peak or 0, total)
            if self._end.wait(self._every_s):
                return


def _bytes_of(process: psutil.Process) -> int:
    with contextlib.suppress(psutil.Error, AttributeError):
        return process.memory_full_info().pss
    return 0
