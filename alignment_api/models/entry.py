"""The files behind a model's name: a base, and perhaps an adapter on it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alignment_api.errors import NotServedError
from alignment_api.models.finished import FinishedJob
from alignment_api.models.schemas import ModelKind
from essa.parametrize.adapter_config import largest_rank
from essa.records.folder import ADAPTER_FOLDER, WARM_START_FOLDER
from essa.spec.engine import Precision
from essa.spec.model import AdapterWarmStartSpec

WARM_START = ":warm_start"

_CONFIG = "adapter_config.json"
_WEIGHTS = "adapter_model.safetensors"
_FLOATS = (Precision.BF16, Precision.FP32)


@dataclass(frozen=True)
class Adapter:
    """A PEFT folder. `key` changes with its content."""

    folder: Path
    key: str


@dataclass(frozen=True)
class Weights:
    """The files that a server needs to serve a model.

    Attributes:
        base: folder of the base.
        dtype: data type of the computation.
        rank: largest rank among the adapters used with the base.
        adapter: adapter on the base; None for the base alone.
    """

    base: Path
    dtype: str
    rank: int
    adapter: Adapter | None = None


@dataclass(frozen=True)
class Entry:
    """One model of the list. Either a job made or used it, or its base is in the cache."""

    id: str
    kind: ModelKind
    created: int
    precision: Precision
    job: FinishedJob | None = None
    folder: Path | None = None

    def weights(self) -> Weights:
        """Return the files that a server needs to serve this model.

        Raises:
            NotServedError: the model cannot be served; the message says why.
        """
        dtype = "float32" if self.precision is Precision.FP32 else "bfloat16"
        if self.job is None or self.kind is ModelKind.BASE:
            rank = adapter_rank(self.job) if self.job else 1
            return Weights(self._base(), dtype, rank)
        folder = adapter_folder(self.job, self.kind)
        weights = folder / _WEIGHTS
        try:
            now = weights.stat()
        except OSError as error:
            raise NotServedError(
                f"the adapter of '{self.id}' is gone from {folder}; run the job again",
                field="model",
            ) from error
        content = f"{weights} {now.st_size} {now.st_mtime_ns}"
        digest = hashlib.sha256(content.encode()).hexdigest()[:12]
        key = f"{self.job.stored.id}-{self.kind}-{digest}"
        return Weights(self._base(), dtype, adapter_rank(self.job), Adapter(folder, key))

    def _base(self) -> Path:
        if self.job is not None:
            self._check_engine(self.job)
        folder = self.folder or Path(read_config(self.job)["base_model_name_or_path"])
        if not (folder / "config.json").is_file():
            raise NotServedError(
                f"the base of '{self.id}' is gone from {folder}; a job on the same model prepares "
                "it again",
                field="model",
            )
        return folder

    def _check_engine(self, job: FinishedJob) -> None:
        if job.stored.spec.engine.quantizes_on_load and self.precision not in _FLOATS:
            raise NotServedError(
                f"'{self.id}' belongs to a base in {self.precision} of bitsandbytes (engine.kind "
                "is transformers), which vLLM does not serve; clone the job with "
                "evaluation.serving_precision bf16, or export the adapter",
                field="model",
            )


def has_models(job: FinishedJob) -> bool:
    """Return whether the adapter that the job made still exists."""
    return (job.run_dir / ADAPTER_FOLDER / _CONFIG).is_file()


def base_id(job: FinishedJob) -> str:
    """Return the name of the base that the job's adapter is served on."""
    model, precision = job.stored.spec.model, job.stored.spec.serving_precision
    name = model.path if model.revision is None else f"{model.path}@{model.revision}"
    return name if precision is Precision.BF16 else f"{name}:{precision}"


def adapter_folder(job: FinishedJob, kind: ModelKind) -> Path:
    """Return the folder of the aligned model's or the warm start's adapter."""
    if kind is ModelKind.ALIGNED:
        return job.run_dir / ADAPTER_FOLDER
    warm_start = job.stored.spec.warm_start
    if isinstance(warm_start, AdapterWarmStartSpec):
        return Path(warm_start.path).expanduser()
    return job.run_dir / WARM_START_FOLDER


def adapter_rank(job: FinishedJob) -> int:
    """Return the largest rank of a job's adapters."""
    ranks = [1]
    for kind in (ModelKind.ALIGNED, ModelKind.WARM_START):
        try:
            config = json.loads((adapter_folder(job, kind) / _CONFIG).read_text())
            ranks.append(largest_rank(config))
        except (OSError, ValueError, KeyError):
            continue  # a missing adapter is reported when it is requested
    return max(ranks)


def read_config(job: FinishedJob | None) -> dict[str, Any]:
    """Read the PEFT configuration of a job's adapter; empty without a job."""
    if job is None:
        return {}
    return json.loads((job.run_dir / ADAPTER_FOLDER / _CONFIG).read_text())
