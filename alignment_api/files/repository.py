"""Uploaded files in the store."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import RowMapping

from alignment_api.errors import FileInUseError, UploadedFileNotFoundError
from alignment_api.files.schemas import DataFile
from alignment_api.store import Store
from alignment_api.store.job_status import JobStatus
from alignment_api.store.tables import files, jobs

_SHOWN_JOBS = 5


class FileRepository:
    """Reads, adds and removes the rows of uploaded files; the content is in the home folder."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def add(self, file: DataFile, project_id: str) -> None:
        """Add the row of a file whose content is already stored."""
        names = ("id", "filename", "purpose", "bytes", "rows", "sha256", "created_at")
        values = {name: getattr(file, name) for name in names}
        with self._store.change() as connection:
            connection.execute(sa.insert(files).values(project_id=project_id, **values))

    def get(self, file_id: str, project_id: str | None = None) -> DataFile:
        """Return one file.

        Args:
            file_id: the file.
            project_id: project that must own the file; None allows any.
        Raises:
            UploadedFileNotFoundError: no such file, or it belongs to another project.
        """
        return _file(self._row(file_id, project_id))

    def page(
        self,
        limit: int,
        after: str | None,
        project_id: str,
        *,
        purpose: str | None = None,
        is_newest_first: bool = True,
    ) -> list[DataFile]:
        """Return up to `limit` of a project's files that follow the file `after`."""
        query = sa.select(files).where(files.c.project_id == project_id)
        if purpose is not None:
            query = query.where(files.c.purpose == purpose)
        number = files.c.number
        if after is not None:
            seen = self._row(after, project_id)["number"]
            query = query.where(number < seen if is_newest_first else number > seen)
        query = query.order_by(number.desc() if is_newest_first else number).limit(limit)
        return [_file(row) for row in self._store.read(query)]

    def remove(self, file_id: str, project_id: str) -> None:
        """Remove the row of a file.

        Raises:
            UploadedFileNotFoundError: no such file, or it belongs to another project.
            FileInUseError: an unfinished job needs the file.
        """
        self._row(file_id, project_id)
        needing = sa.select(jobs.c.id).where(
            jobs.c.project_id == project_id,
            jobs.c.status.in_([status for status in JobStatus if not status.is_terminal]),
            jobs.c.spec.contains(file_id, autoescape=True),
        )
        with self._store.change() as connection:
            found = connection.execute(needing.order_by(jobs.c.number)).scalars().all()
            if found:
                raise FileInUseError(
                    f"{file_id} is needed by {', '.join(found[:_SHOWN_JOBS])}; cancel them first, "
                    "or wait for their end"
                )
            connection.execute(sa.delete(files).where(files.c.id == file_id))

    def _row(self, file_id: str, project_id: str | None) -> RowMapping:
        query = sa.select(files).where(files.c.id == file_id)
        if project_id is not None:
            query = query.where(files.c.project_id == project_id)
        rows = self._store.read(query)
        if not rows:
            raise UploadedFileNotFoundError(
                f"there is no file {file_id}; upload it with POST /v1/files"
            )
        return rows[0]


def _file(row: RowMapping) -> DataFile:
    names = ("id", "filename", "purpose", "bytes", "rows", "sha256")
    return DataFile(**{name: row[name] for name in names}, created_at=int(row["created_at"]))
