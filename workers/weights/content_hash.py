"""Content hashes of model folders; those of large files are remembered."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from filelock import FileLock

from workers.weights.checkpoint import side_files, weight_files

REMEMBERED_BYTES = 8 * 1024 * 1024
"""Size from which files are hashed again only if their size or modification time changes."""


class ContentHasher:
    """SHA-256 of files and folders; safe to use from several processes."""

    def __init__(self, memory: Path) -> None:
        """Remember hashes of large files in the JSON file `memory`."""
        self._memory = memory

    def file(self, path: Path) -> str:
        """Hash one file."""
        real = path.resolve()
        stat = real.stat()
        if stat.st_size < REMEMBERED_BYTES:
            return _sha256(real)
        stamp = [stat.st_size, stat.st_mtime_ns]
        known = self._read().get(str(real))
        if known is not None and known[:2] == stamp:
            return known[2]
        digest = _sha256(real)
        self._remember(str(real), [*stamp, digest])
        return digest

    def folder(self, folder: Path) -> str:
        """Hash names and contents of a model folder's weights, configuration and tokenizer."""
        lines = [
            f"{file.name} {self.file(file)}"
            for file in (*side_files(folder), *weight_files(folder))
        ]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def _read(self) -> dict[str, list]:
        try:
            content = json.loads(self._memory.read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return {}  # only a cache: lost hashes are computed again
        return content if isinstance(content, dict) else {}

    def _remember(self, path: str, entry: list) -> None:
        with FileLock(f"{self._memory}.lock"):
            content = self._read()
            content[path] = entry
            temporary = self._memory.with_name(f".{self._memory.name}-{os.getpid()}")
            temporary.write_text(json.dumps(content))
            temporary.replace(self._memory)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
