"""The models of a project: bases, warm starts and aligned models."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from alignment_api.errors import ModelNotFoundError, NotServedError
from alignment_api.models.cached import cached_bases
from alignment_api.models.entry import WARM_START, Entry, base_id, has_models, read_config
from alignment_api.models.finished import FinishedJob, FinishedJobs
from alignment_api.models.schemas import Model, ModelDetails, ModelKind
from alignment_api.openai.identifiers import job_of_model
from essa.records.folder import ADAPTER_FOLDER

SERVICE = "essa"


class Catalogue:
    """Finds models by name. Blocking.

    Args:
        jobs: the jobs that succeeded.
        cache_dir: folder of prepared models.
    """

    def __init__(self, jobs: FinishedJobs, cache_dir: Path) -> None:
        self._jobs = jobs
        self._cache_dir = cache_dir

    def list(self, project_id: str) -> list[Entry]:
        """Return all models of a project, newest job first, then bases that its jobs never used."""
        entries: list[Entry] = []
        bases: dict[str, Entry] = {}
        folders = set()
        for job in self._jobs.newest_first(project_id):
            if has_models(job):
                entries += [_aligned(job), _warm_start(job)]
                bases.setdefault(base_id(job), _base(job))
                folders.add(Path(read_config(job)["base_model_name_or_path"]))
        unused = [entry for entry in self._cached() if entry.folder not in folders]
        return [*entries, *bases.values(), *unused]

    def find(self, model_id: str, project_id: str) -> Entry:
        """Return one model.

        Raises:
            ModelNotFoundError: there is no such model in this project.
        """
        entry = self._of_job(model_id, project_id) or self._found_base(model_id, project_id)
        if entry is None:
            raise ModelNotFoundError(
                f"there is no model '{model_id}' in this project; GET /v1/models lists those "
                "there are",
                field="model",
            )
        return entry

    def delete(self, model_id: str, project_id: str) -> None:
        """Delete the adapter that a job made; its warm start is no longer listed either.

        Raises:
            ModelNotFoundError: there is no such model in this project.
            NotServedError: the model was not made by a job.
        """
        entry = self.find(model_id, project_id)
        if entry.job is None or entry.kind is not ModelKind.ALIGNED:
            raise NotServedError(
                f"'{model_id}' is a {entry.kind} model; only aligned models, `ft:…`, can be "
                "deleted",
                field="model",
            )
        adapter = entry.job.run_dir / ADAPTER_FOLDER
        # Renamed first, so that a half-deleted folder is never found.
        doomed = adapter.with_name(f".deleted-{uuid.uuid4().hex}")
        adapter.rename(doomed)
        shutil.rmtree(doomed)

    def _of_job(self, model_id: str, project_id: str) -> Entry | None:
        name = model_id.removesuffix(WARM_START)
        job_id = job_of_model(name)
        job = self._jobs.find(job_id, project_id) if job_id else None
        if job is None or job.stored.model_name != name or not has_models(job):
            return None
        return _aligned(job) if name == model_id else _warm_start(job)

    def _found_base(self, model_id: str, project_id: str) -> Entry | None:
        for job in self._jobs.newest_first(project_id):
            if base_id(job) == model_id and has_models(job):
                return _base(job)
        return next((entry for entry in self._cached() if entry.id == model_id), None)

    def _cached(self) -> Iterator[Entry]:
        for base in cached_bases(self._cache_dir):
            yield Entry(
                base.folder.name,
                ModelKind.BASE,
                base.created,
                base.precision,
                folder=base.folder,
            )


def shown(entry: Entry) -> Model:
    """Convert an entry to the API's model object."""
    job = entry.job
    not_served = None
    try:
        entry.weights()
    except NotServedError as error:
        not_served = error.message
    is_made = job is not None and entry.kind is not ModelKind.BASE
    return Model(
        id=entry.id,
        created=entry.created,
        owned_by=SERVICE,
        essa=ModelDetails(
            kind=entry.kind,
            job=job.stored.id if job and is_made else None,
            job_name=job.stored.name if job and is_made else None,
            base=base_id(job) if job and is_made else None,
            precision=entry.precision,
            not_served=not_served,
        ),
    )


def _aligned(job: FinishedJob) -> Entry:
    return _entry(job.stored.model_name, ModelKind.ALIGNED, job)


def _warm_start(job: FinishedJob) -> Entry:
    return _entry(job.stored.model_name + WARM_START, ModelKind.WARM_START, job)


def _base(job: FinishedJob) -> Entry:
    return _entry(base_id(job), ModelKind.BASE, job)


def _entry(name: str, kind: ModelKind, job: FinishedJob) -> Entry:
    finished_at = int(job.stored.finished_at or 0)
    return Entry(name, kind, finished_at, job.stored.spec.serving_precision, job)
