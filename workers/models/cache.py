"""A folder of prepared model folders, each built once and complete or not there."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock, Timeout

MANIFEST = "essa_prepared.manifest"
"""Written last into a built folder: names and sizes of its files."""

Progress = Callable[[str], None]


class FolderCache:
    """Builds folders under their key, once, also among several processes."""

    def __init__(self, root: Path) -> None:
        """Keep the folders under `root`, which is created."""
        self._root = root
        self._locks = root / "locks"
        self._locks.mkdir(parents=True, exist_ok=True)

    def get(self, key: str, build: Callable[[Path], None], progress: Progress) -> Path:
        """Return the folder of `key`, building it where it is missing or damaged.

        Args:
            key: file name of the folder; says all that its content depends on.
            build: fills the empty folder it is given; may raise, and then nothing is kept.
            progress: told when another process is building the same folder.
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
                self._build(folder, build)
        finally:
            lock.release()
        return folder

    def _build(self, folder: Path, build: Callable[[Path], None]) -> None:
        # Whatever carries this prefix is left over from a build that died: we hold its lock.
        prefix = f".building-{folder.name}-"
        for stale in self._root.glob(f"{prefix}*"):
            shutil.rmtree(stale)
        if folder.exists():
            shutil.rmtree(folder)
        temporary = self._root / f"{prefix}{os.getpid()}"
        temporary.mkdir()
        try:
            build(temporary)
            _write_manifest(temporary)
            temporary.rename(folder)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise


def is_complete(folder: Path) -> bool:
    """True where every file of the manifest is there in its full size."""
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
