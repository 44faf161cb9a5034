"""Provenance of a run's inputs, written into its folder at the start and used by model cards."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from essa.data import read_jsonl
from essa.errors import CheckpointCorruptError
from essa.records.folder import PROVENANCE_FILE
from essa.spec import AlignmentJobSpec, DatasetSpec, Precision
from essa.storage.atomic_file import write_file
from essa.versions import installed_versions

if TYPE_CHECKING:
    from workers.job.context import JobContext
    from workers.job.engine_plan import EnginePlan


class _Record(BaseModel):
    # A newer version may have written more fields.
    model_config = ConfigDict(extra="ignore", frozen=True, use_attribute_docstrings=True)


class DataRecord(_Record):
    """File of one data set."""

    set: str
    name: str
    sha256: str
    rows: int
    """Number of rows in the whole file."""
    limit: int | None = None
    """Number of rows that the job may use; None if it sets no limit."""


class BaseRecord(_Record):
    """The base model."""

    name: str
    """Name on the hub, `package:...`, or the last part of a local folder's path."""
    is_hub: bool
    revision: str | None = None
    folder: str
    digest: str
    """SHA-256 of weights, configuration and tokenizer."""
    licence: str | None = None
    licence_link: str | None = None
    licence_files: tuple[str, ...] = ()


class CheckpointRecord(_Record):
    """A checkpoint of the base that engines loaded."""

    precision: Precision
    folder: str
    digest: str


class Provenance(_Record):
    """All records except the result. `sizes` are the numbers of prompts in the three sets."""

    spec: dict[str, Any]
    base: BaseRecord
    searched: CheckpointRecord
    served: CheckpointRecord
    data: tuple[DataRecord, ...]
    sizes: dict[str, int]
    versions: dict[str, str]
    started_at: int
    """Time of the newest start, in Unix seconds."""

    @property
    def job(self) -> AlignmentJobSpec:
        """Return the resolved specification, without fields that this version does not know."""
        return AlignmentJobSpec.model_validate_json(json.dumps(self.spec), extra="ignore")

    def save(self, run_dir: Path) -> None:
        """Write the provenance into the run's folder."""
        write_file(run_dir / PROVENANCE_FILE, (self.model_dump_json(indent=2) + "\n").encode())


def write_provenance(context: JobContext, searched: EnginePlan, served: EnginePlan) -> None:
    """Write a run's provenance into its folder; a resumed run overwrites it."""
    job = context.job
    sets = {"train": job.spec.data.train, "validation": job.spec.data.validation}
    sets["test"] = job.spec.data.test
    found = Provenance(
        spec=job.spec.model_dump(mode="json"),
        base=_base_record(context),
        searched=_checkpoint_record(searched),
        served=_checkpoint_record(served),
        data=tuple(
            data_record(name, given, context.resolve(given))
            for name, given in sets.items()
            if given
        ),
        sizes={name: len(getattr(context.data, name)) for name in sets},
        versions=installed_versions(),
        started_at=int(time.time()),
    )
    found.save(job.run_dir)


def read_provenance(run_dir: Path) -> Provenance:
    """Read the provenance of the run in a folder.

    Raises:
        FileNotFoundError: the run has not written its provenance yet.
        CheckpointCorruptError: the file is damaged.
    """
    path = run_dir / PROVENANCE_FILE
    text = path.read_text(encoding="utf-8")
    try:
        return Provenance.model_validate_json(text)
    except ValidationError as error:
        raise CheckpointCorruptError(
            f"{path} is damaged: {error.errors()[0]['msg']}; restore it from a backup"
        ) from error


def data_record(name: str, given: DatasetSpec, path: Path) -> DataRecord:
    """Return the record of a data set's file, with its rows and hash."""
    return DataRecord(
        set=name,
        name=given.file_id or path.name,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        rows=len(read_jsonl(path)),
        limit=given.limit,
    )


def _base_record(context: JobContext) -> BaseRecord:
    from workers.export.licence import base_licence
    from workers.models.package_model import is_package_path

    model, base = context.job.spec.model, context.base
    licence = base_licence(model, base.folder)
    is_local = Path(model.path).expanduser().is_dir()
    is_hub = not is_local and not is_package_path(model.path)
    return BaseRecord(
        name=base.name if is_local else model.path,
        is_hub=is_hub,
        revision=model.revision if is_hub else None,
        folder=str(base.folder),
        digest=base.digest,
        licence=licence.name,
        licence_link=licence.link,
        licence_files=licence.files,
    )


def _checkpoint_record(plan: EnginePlan) -> CheckpointRecord:
    return CheckpointRecord(
        precision=plan.precision, folder=str(plan.model_folder), digest=plan.model_digest
    )
