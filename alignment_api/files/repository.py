"""Uploaded files in the store."""

from __future__ import annotations

import sqlite3

from alignment_api.errors import UploadedFileNotFoundError
from alignment_api.files.schemas import DataFile
from alignment_api.store import Store


class FileRepository:
    """Reads and adds the rows of uploaded files; their content lies in the home's `files`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def add(self, file: DataFile) -> None:
        """Record a file whose content is in its place."""
        with self._store.change() as connection:
            connection.execute(
                "INSERT INTO files (id, filename, bytes, rows, sha256, created_at) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                (file.id, file.filename, file.bytes, file.rows, file.sha256, file.created_at),
            )

    def get(self, file_id: str) -> DataFile:
        """One file.

        Raises:
            UploadedFileNotFoundError: no such file.
        """
        rows = self._store.read("SELECT * FROM files WHERE id = ?", (file_id,))
        if not rows:
            raise UploadedFileNotFoundError(
                f"there is no file {file_id}; upload it with POST /v1/files"
            )
        return _file(rows[0])

    def all(self) -> list[DataFile]:
        """Every file, newest first."""
        return [_file(row) for row in self._store.read("SELECT * FROM files ORDER BY number DESC")]


def _file(row: sqlite3.Row) -> DataFile:
    names = ("id", "filename", "bytes", "rows", "sha256")
    return DataFile(**{name: row[name] for name in names}, created_at=int(row["created_at"]))
