"""Read a run's folder for exports, with neither torch nor the model."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pydantic import ValidationError

from essa.errors import CheckpointCorruptError, JobConflictError, SpecError
from essa.events import ResultEvent
from essa.parametrize.adapter import CONFIG_FILE, LoraAdapter, read_adapter
from essa.parametrize.basis import BASIS_FILE, AdapterBasis
from essa.parametrize.codec import SingularValueCodec
from essa.records.folder import ADAPTER_FOLDER, PROVENANCE_FILE, RESULT_FILE
from essa.records.vectors import NOT_KEPT, kept_generations, read_vector
from workers.export.provenance import Provenance, read_provenance


@dataclass(frozen=True)
class RunSource:
    """Folder of a run that is finished or has at least mean vectors."""

    run_dir: Path

    @cached_property
    def provenance(self) -> Provenance:
        """Provenance of the run.

        Raises:
            JobConflictError: the run has not written its provenance yet.
        """
        try:
            return read_provenance(self.run_dir)
        except FileNotFoundError as error:
            raise JobConflictError(
                f"{self.run_dir} has no {PROVENANCE_FILE}: the run has not prepared its model yet, "
                "or this is no run's folder"
            ) from error

    @cached_property
    def result(self) -> ResultEvent | None:
        """Result of the run; None before its end.

        Raises:
            CheckpointCorruptError: the file is damaged.
        """
        path = self.run_dir / RESULT_FILE
        try:
            return ResultEvent.model_validate_json(path.read_text(encoding="utf-8"), extra="ignore")
        except FileNotFoundError:
            return None
        except ValidationError as error:
            raise CheckpointCorruptError(
                f"{path} is damaged: {error.errors()[0]['msg']}; restore it from a backup"
            ) from error

    @property
    def adapter_folder(self) -> Path:
        """Folder of the adapter that the run has written.

        Raises:
            JobConflictError: the run has not written an adapter.
        """
        folder = self.run_dir / ADAPTER_FOLDER
        if not (folder / CONFIG_FILE).is_file():
            raise JobConflictError(
                f"{self.run_dir} has no adapter: the run has not ended well, or its adapter is gone"
                + ("" if self._moves_weights else "; a generation can be exported by its number")
            )
        return folder

    def adapter(self, checkpoint: int | None) -> LoraAdapter:
        """Return the adapter of a generation, with rebuilt factors; None means the run's result.

        Raises:
            JobConflictError: the run has no result, or no mean vectors, yet.
            SpecError: the run has no such generation.
        """
        if checkpoint is None:
            return read_adapter(self.adapter_folder)
        self.require(checkpoint)
        codec = SingularValueCodec(AdapterBasis.load(self.run_dir / BASIS_FILE))
        return codec.export(read_vector(self.run_dir, checkpoint))

    def require(self, checkpoint: int | None) -> None:
        """Check that a generation is kept or, for None, that there is a result.

        Raises:
            JobConflictError: the run has no result, or no mean vectors, yet.
            SpecError: the run has no such generation.
        """
        if checkpoint is None:
            _ = self.adapter_folder
            return
        if self._moves_weights:
            raise JobConflictError(f"checkpoint is {checkpoint}: {NOT_KEPT}")
        generations = kept_generations(self.run_dir)
        if not generations or not (self.run_dir / BASIS_FILE).is_file():
            raise JobConflictError(
                f"{self.run_dir} has no mean vectors; they are there once its search has begun"
            )
        if checkpoint not in generations:
            raise SpecError(
                f"checkpoint is {checkpoint}, but mean vectors are kept of generations "
                f"{generations[0]} to {generations[-1]}",
                field="checkpoint",
            )

    @property
    def _moves_weights(self) -> bool:
        try:
            return self.provenance.job.moves_weights
        except JobConflictError:  # the run has not written its provenance yet
            return False
