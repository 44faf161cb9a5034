"""A cache of prepared model folders, each built once and either complete or absent."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock, Timeout

from essa.storage.faults import full_disk, require_room, writing

MANIFEST = "essa_prepared.manifest"
"""File written last into a built folder: names and sizes of the folder's files."""

Progress = Callable[[str], None]

_KNOB = "ESSA_HOME"
_MARGIN_BYTES = 16 * 2**20
"""Room for tokenizers and other files beside the weights."""


class FolderCache:
    """Builds the folder of each key once, even if several processes ask for it."""

    def __init__(self, root: Path) -> None:
        """Keep the folders under `root`, which is created if needed."""
        self._root = root
        self._locks = root / "locks"
        with writing(root, _KNOB):
            self._locks.mkdir(parents=True, exist_ok=True)

    def get(
        self,
        key: str,
        build: Callable[[Path], None],
        progress: Progress,
        *,
        size_bytes: Callable[[], int] = lambda: 0,
    ) -> Path:
        """Return the folder of `key`, building it if it is missing or damaged.

        Args:
            key: file name of the folder; must identify everything that its content depends on.
            build: fills an empty folder; may raise, and then nothing is kept.
            progress: called when another process is building the same folder.
            size_bytes: returns the size of the finished folder; called only before a build.
        Raises:
            StorageError: the disk has no room for the folder, or fills up during the build.
        """
        folder = self._root / key
        if is_complete(folder):
            return folder
        lock = FileLock(self._locks / f"{key}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            progress(f"waiting for another process that prepares {key}")
            lock.acquire()
        try:
            if not is_complete(folder):
                self._build(folder, build, size_bytes())
        finally:
            lock.release()
        return folder

    def _build(self, folder: Path, build: Callable[[Path], None], size_bytes: int) -> None:
        # We hold the lock, so anything with this prefix is left over from a build that died.
        prefix = f".building-{folder.name}-"
        for stale in self._root.glob(f"{prefix}*"):
            shutil.rmtree(stale)
        if folder.exists():
            shutil.rmtree(folder)
        require_room(self._root, size_bytes + _MARGIN_BYTES, f"preparing {folder.name}", _KNOB)
        temporary = self._root / f"{prefix}{os.getpid()}"
        try:
            with writing(self._root, _KNOB):
                temporary.mkdir()
                build(temporary)
                _write_manifest(temporary)
                temporary.rename(folder)
        except BaseException as error:
            told = full_disk(error, [self._root])
            shutil.rmtree(temporary, ignore_errors=True)
            if told is not None and told is not error:
                raise told from error
            raise


def is_complete(folder: Path) -> bool:
    """Return whether every file of the manifest exists in its full size."""
    try:
        sizes = json.loads((folder / MANIFEST).read_text())
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, AttributeError):
        return False


def _write_manifest(folder: Path) -> None:
    sizes: dict[str, int] = {}
    for file in sorted(folder.iterdir()):
        with file.open("rb") as handle:
            os.fsync(handle.fileno())
        sizes[file.name] = file.stat().st_size
    (folder / MANIFEST).write_text(json.dumps(sizes, indent=2) + "\n")
