"""Locks inside the home folder."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from types import TracebackType

from alignment_api.errors import HomeInUseError
from essa.storage.faults import writing

_POLL_S = 0.2


class FolderLock:
    """An exclusive lock on a file, held until released or until the process ends.

    The file keeps the holder's process number, for the message of whoever comes second.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def acquire(self, wait_s: float = 0.0) -> None:
        """Take the lock; does nothing if this object holds it already.

        Raises:
            HomeInUseError: another process holds it, still after `wait_s` seconds.
            StorageError: the folder cannot be written, or its disk is full.
        """
        if self._descriptor is not None:
            return
        with writing(self._path.parent, "ESSA_HOME"):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        give_up_at = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() >= give_up_at:
                    holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
                    os.close(descriptor)
                    raise HomeInUseError(
                        f"{self._path.parent} is in use by process {holder or 'unknown'}; stop "
                        "it, or name another folder with ESSA_HOME"
                    ) from error
                time.sleep(_POLL_S)
        self._descriptor = descriptor
        with writing(self._path.parent, "ESSA_HOME"):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Give the lock up. Safe to call twice."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

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
    """The lock of the one process that serves a home."""
    return FolderLock(home / "serve.lock")
