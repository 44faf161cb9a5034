"""A folder of prepared model folders, each built once and complete or not there."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock, Timeout

from essa.storage.faults import full_disk, require_room, writing

MANIFEST = "essa_prepared.manifest"
"""Written last into a built folder: names and sizes of its files."""

Progress = Callable[[str], None]

_KNOB = "ESSA_HOME"
_MARGIN_BYTES = 16 * 2**20
"""For tokenizers and whatever else lies beside weights."""


class FolderCache:
    """Builds folders under their key, once, also among several processes."""

    def __init__(self, root: Path) -> None:
        """Keep the folders under `root`, which is created."""
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
        """Return the folder of `key`, building it where it is missing or damaged.

        Args:
            key: file name of the folder; says all that its content depends on.
            build: fills the empty folder it is given; may raise, and then nothing is kept.
            progress: told when another process is building the same folder.
            size_bytes: how large the folder will be; asked only before it is built.
        Raises:
            StorageError: the disk has no room for it, or is full before it is done.
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
        # Whatever carries this prefix is left over from a build that died: we hold its lock.
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
