"""Receive uploaded files and find them again."""

from __future__ import annotations

import hashlib
import os
import secrets
import time
from pathlib import Path
from typing import BinaryIO

from alignment_api.files.repository import FileRepository
from alignment_api.files.rows import count_rows
from alignment_api.files.schemas import DataFile, DataFileList, DeletedFile
from alignment_api.openai.page import ends
from essa.errors import DataError

_CHUNK_BYTES = 1024 * 1024


class FileService:
    """Uploaded JSONL files, each stored under its id. Blocking."""

    def __init__(self, repository: FileRepository, folder: Path) -> None:
        self._repository = repository
        self._folder = folder

    def upload(
        self, stream: BinaryIO, filename: str, project_id: str, purpose: str = "fine-tune"
    ) -> DataFile:
        """Check and store a JSONL file.

        Raises:
            DataError: no rows, or lines that are not JSON objects; nothing is stored in that case.
        """
        file_id = f"file-{secrets.token_hex(8)}"
        self._folder.mkdir(parents=True, exist_ok=True)
        partial = self._folder / f".{file_id}.part"
        try:
            size, digest = _copy(stream, partial)
            rows = count_rows(partial, name=filename)
            os.replace(partial, self._place(file_id))
        finally:
            partial.unlink(missing_ok=True)
        file = DataFile(
            id=file_id,
            filename=filename,
            purpose=purpose,
            bytes=size,
            rows=rows,
            sha256=digest,
            created_at=int(time.time()),
        )
        try:
            self._repository.add(file, project_id)
        except BaseException:
            self._place(file_id).unlink(missing_ok=True)
            raise
        return file

    def get(self, file_id: str, project_id: str) -> DataFile:
        """Return one file; see `FileRepository.get`."""
        return self._repository.get(file_id, project_id)

    def page(
        self,
        limit: int,
        after: str | None,
        project_id: str,
        *,
        purpose: str | None = None,
        is_newest_first: bool = True,
    ) -> DataFileList:
        """Return a page of a project's files; see `FileRepository.page`."""
        found = self._repository.page(
            limit + 1, after, project_id, purpose=purpose, is_newest_first=is_newest_first
        )
        shown = found[:limit]
        return DataFileList(
            data=shown,
            has_more=len(found) > limit,
            **ends(shown),
        )

    def remove(self, file_id: str, project_id: str) -> DeletedFile:
        """Delete a file that no unfinished job needs.

        Raises:
            UploadedFileNotFoundError: there is no such file.
            FileInUseError: an unfinished job needs the file.
        """
        self._repository.remove(file_id, project_id)
        self._place(file_id).unlink(missing_ok=True)
        return DeletedFile(id=file_id)

    def resolve(self, file_id: str, project_id: str | None = None) -> Path:
        """Return the path of an uploaded file's content.

        Args:
            file_id: the file.
            project_id: project that must own the file; None allows any.
        Raises:
            UploadedFileNotFoundError: there is no such file.
            DataError: the file's content is missing from the home folder.
        """
        path = self._place(self._repository.get(file_id, project_id).id)
        if not path.is_file():
            raise DataError(f"the content of {file_id} is gone from {path}; upload it again")
        return path

    def _place(self, file_id: str) -> Path:
        return self._folder / f"{file_id}.jsonl"


def _copy(stream: BinaryIO, path: Path) -> tuple[int, str]:
    digest = hashlib.sha256()
    size = 0
    with path.open("wb") as file:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    return size, digest.hexdigest()
