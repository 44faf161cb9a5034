"""Operations of the API on exports."""

from __future__ import annotations

import threading
from pathlib import Path

from alignment_api import composition
from alignment_api.exports.archive import make_archive
from alignment_api.exports.runner import ExportRunner
from alignment_api.exports.schemas import Export, ExportList, ExportStatus
from alignment_api.exports.shelf import ExportShelf
from alignment_api.openai.page import ends
from alignment_api.settings import Settings
from alignment_api.store.job_status import JobStatus
from alignment_api.store.stored_job import StoredJob
from essa.errors import JobConflictError
from essa.records.vectors import NOT_KEPT
from essa.spec.export import ExportFormat, ExportSpec


class ExportService:
    """Starts, lists and finds exports. Blocking; call it from a thread."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._runner = ExportRunner(settings)
        self._adapters = threading.Lock()

    def start(self) -> None:
        """Start making ordered exports."""
        self._runner.start()

    def stop(self) -> None:
        """Cancel running and waiting exports. Blocking."""
        self._runner.stop()

    def order(self, job: StoredJob, spec: ExportSpec) -> Export:
        """Start an export unless it exists, and return its state.

        Raises:
            JobConflictError: the job has not got that far yet.
            SpecError: there is no such generation.
        """
        shelf = self._shelf(job)
        _check_state(job, spec)
        if spec.format is not ExportFormat.ADAPTER:
            return self._runner.order(shelf, self._settings.run_dir(job.id), spec)
        self._adapter(job, spec)
        return shelf.find(spec) or shelf.put(spec, ExportStatus.SUCCEEDED)

    def all(self, job: StoredJob) -> ExportList:
        """Return the exports of a job."""
        found = self._shelf(job).all()
        return ExportList(
            data=found,
            **ends(found),
        )

    def archive(self, job: StoredJob, spec: ExportSpec) -> Path:
        """Return the zip of an export; an adapter is packed on demand.

        Raises:
            JobConflictError: the job has not got that far yet, or the export is not finished.
            SpecError: there is no such generation.
        """
        _check_state(job, spec)
        if spec.format is ExportFormat.ADAPTER:
            return self._adapter(job, spec)
        shelf = self._shelf(job)
        record = shelf.find(spec)
        if record is None:
            raise JobConflictError(
                f"job {job.id} has no export {spec}; start it with POST "
                f"/v1/fine_tuning/jobs/{job.id}/exports"
            )
        if record.status is not ExportStatus.SUCCEEDED:
            why = f": {record.error.message}" if record.error is not None else ""
            raise JobConflictError(f"the export {spec} of job {job.id} is {record.status}{why}")
        return shelf.archive(spec)

    def model_card(self, job: StoredJob, spec: ExportSpec) -> str:
        """Return the model card of an export, which need not have been made.

        Raises:
            JobConflictError: the job has not got that far yet.
        """
        if spec.checkpoint is None:
            _require_success(job)
        return composition.model_card(self._settings.run_dir(job.id), spec)

    def _adapter(self, job: StoredJob, spec: ExportSpec) -> Path:
        shelf = self._shelf(job)
        archive = shelf.archive(spec)
        with self._adapters:
            # A running job may repeat a generation after a crash, so its zip is never reused.
            if spec.checkpoint is not None or not archive.is_file():
                make_archive(
                    self._settings.run_dir(job.id),
                    spec,
                    archive,
                    cache_dir=self._settings.cache_dir,
                    progress=lambda line: None,
                )
                shelf.put(spec, ExportStatus.SUCCEEDED)
        return archive

    def _shelf(self, job: StoredJob) -> ExportShelf:
        return ExportShelf(self._settings.job_dir(job.id))


def _check_state(job: StoredJob, spec: ExportSpec) -> None:
    if spec.checkpoint is None:
        _require_success(job)
    elif job.spec.moves_weights:
        raise JobConflictError(f"checkpoint is {spec.checkpoint}: {NOT_KEPT}")
    elif spec.format is not ExportFormat.ADAPTER and not job.status.is_terminal:
        raise JobConflictError(
            f"job {job.id} is {job.status}; until it has ended, a generation can be exported as "
            "format adapter only"
        )


def _require_success(job: StoredJob) -> None:
    if job.status is not JobStatus.SUCCEEDED:
        other = "" if job.spec.moves_weights else "; a generation can be exported by `checkpoint`"
        raise JobConflictError(
            f"job {job.id} is {job.status}; only a succeeded job has an adapter to export{other}"
        )
