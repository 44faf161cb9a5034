"""Locks inside the home folder."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType

from filelock import FileLock, Timeout

from alignment_api.errors import HomeInUseError
from essa.storage.faults import writing

_POLL_S = 0.2


class FolderLock:
    """An exclusive lock on a file, held until released or until the process ends.

    The file contains the holder's process id, for the error message to other processes.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        # A server may be closed by a different thread from the one that opened it.
        self._lock = FileLock(path, thread_local=False, poll_interval=_POLL_S)

    def acquire(self, wait_s: float = 0.0) -> None:
        """Acquire the lock; does nothing if this object already holds it.

        Raises:
            HomeInUseError: another process still holds the lock after `wait_s` seconds.
            StorageError: the folder is not writable, or its disk is full.
        """
        if self._lock.is_locked:
            return
        try:
            with writing(self._path.parent, "ESSA_HOME"):
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._lock.acquire(timeout=wait_s)
                self._path.write_text(f"{os.getpid()}\n", encoding="utf-8")
        except Timeout as error:
            holder = self._path.read_text(encoding="utf-8", errors="replace").strip()
            raise HomeInUseError(
                f"{self._path.parent} is in use by process {holder or 'unknown'}; stop it, or name "
                "another folder with ESSA_HOME"
            ) from error

    def release(self) -> None:
        """Release the lock. Idempotent."""
        self._lock.release()

    def __enter__(self) -> FolderLock:
        self.acquire()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()


def home_lock(home: Path) -> FolderLock:
    """Return the lock of a home, which only one process at a time may serve."""
    return FolderLock(home / "serve.lock")
