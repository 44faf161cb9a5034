"""The exports of one job on disk: an archive and a state record for each."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from pydantic import ValidationError

from alignment_api.exports.schemas import Export, ExportFailure, ExportStatus
from alignment_api.openai.identifiers import tail
from essa.spec.export import ExportSpec
from essa.storage.atomic_file import write_file

FOLDER = "exports"
SCRATCH = ".scratch-"
"""Prefix of folders being filled; the export's key follows."""


class ExportShelf:
    """The folder `exports` of a job."""

    def __init__(self, job_dir: Path) -> None:
        self.folder = job_dir / FOLDER
        self._job_id = job_dir.name

    def archive(self, spec: ExportSpec) -> Path:
        """Return the path of an export's zip, whether it exists or not."""
        return self.folder / f"{spec.key}.zip"

    def log(self, spec: ExportSpec) -> Path:
        """Return the path of the log of an export's process."""
        return self.folder / f"{spec.key}.log"

    def failure(self, spec: ExportSpec) -> Path:
        """Return the path where an export's process writes its reason for failing."""
        return self.folder / f"{spec.key}.failure"

    def find(self, spec: ExportSpec) -> Export | None:
        """Return an export's record; None if it was never requested, or its archive is gone."""
        try:
            text = self._record(spec.key).read_text(encoding="utf-8")
            record = Export.model_validate_json(text)
        except (FileNotFoundError, ValidationError):
            return None
        is_gone = record.status is ExportStatus.SUCCEEDED and not self.archive(spec).is_file()
        return None if is_gone else record

    def all(self) -> list[Export]:
        """Return all exports, oldest first."""
        found = []
        for path in self.folder.glob("*.json"):
            try:
                spec = Export.model_validate_json(path.read_text(encoding="utf-8")).spec
            except (OSError, ValidationError):
                continue
            record = self.find(spec)
            if record is not None:
                found.append(record)
        return sorted(found, key=lambda record: (record.created_at, record.id))

    def put(
        self, spec: ExportSpec, status: ExportStatus, failure: ExportFailure | None = None
    ) -> Export:
        """Record the state of an export."""
        earlier = self.find(spec)
        is_begun = earlier is None or status is ExportStatus.QUEUED
        now = int(time.time())
        archive = self.archive(spec)
        record = Export(
            id=f"ftexport-{tail(self._job_id)}-{spec.key}",
            format=spec.format,
            precision=spec.precision,
            checkpoint=spec.checkpoint,
            status=status,
            bytes=archive.stat().st_size if status is ExportStatus.SUCCEEDED else None,
            error=failure,
            created_at=now if earlier is None or is_begun else earlier.created_at,
            finished_at=None if status.is_working else now,
        )
        write_file(self._record(spec.key), record.model_dump_json().encode())
        return record

    def drop_scratch(self, key: str = "") -> None:
        """Delete half-written folders of dead processes, for one export or for all."""
        for path in self.folder.glob(f"{SCRATCH}{key}*"):
            shutil.rmtree(path, ignore_errors=True)

    def _record(self, key: str) -> Path:
        return self.folder / f"{key}.json"
