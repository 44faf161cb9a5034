"""Paths of uploaded files, without an open store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from alignment_api.errors import UploadedFileNotFoundError
from alignment_api.files.repository import FileRepository
from alignment_api.files.service import FileService
from alignment_api.settings import Settings
from alignment_api.store import Store


def uploaded_files(settings: Settings) -> Callable[[str], Path]:
    """Return a function from file id to path, for a home that may not exist yet."""

    def resolve(file_id: str) -> Path:
        if settings.database_url is None and not settings.sqlite_path.is_file():
            raise UploadedFileNotFoundError(
                f"there is no file {file_id} in {settings.home}; name its home with --home"
            )
        store = Store(settings.store_url)
        try:
            return FileService(FileRepository(store), settings.files_dir).resolve(file_id)
        finally:
            store.close()

    return resolve
