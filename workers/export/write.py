"""Write one export of a run into a folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from essa.errors import SpecError
from essa.parametrize.adapter import write_adapter
from essa.spec.export import ExportFormat, ExportSpec
from workers.export.card import model_card
from workers.export.source import RunSource

CARD_FILE = "README.md"
BASE_FOLDER = "base"
ADAPTER_FOLDER = "adapter"

Progress = Callable[[str], None]


def write_export(
    run_dir: Path, spec: ExportSpec, folder: Path, *, cache_dir: Path, progress: Progress
) -> None:
    """Fill an empty folder with an export and its model card.

    An adapter needs neither torch nor the base; the other formats read the base.

    Args:
        run_dir: the run's folder.
        spec: the export to write.
        folder: an empty folder.
        cache_dir: folder of prepared models.
        progress: called with one line per step.
    Raises:
        JobConflictError: the run has not yet written what the export needs.
        SpecError: the base is missing, has changed, or cannot be exported in this format.
        EssaError: the run's folder is damaged.
    """
    source = RunSource(run_dir)
    if spec.format is ExportFormat.ADAPTER:
        _write_adapter(source, spec.checkpoint, folder)
    elif spec.format is ExportFormat.MERGED:
        _write_merged(source, spec, folder, cache_dir, progress)
    else:
        _write_quantized(source, spec, folder, cache_dir, progress)
    (folder / CARD_FILE).write_text(model_card(source, spec), encoding="utf-8")


def _write_adapter(
    source: RunSource, checkpoint: int | None, folder: Path, base: str | None = None
) -> None:
    if checkpoint is None and base is None:
        # A byte-for-byte copy of the run's adapter.
        shutil.copytree(source.adapter_folder, folder, dirs_exist_ok=True)
        return
    name = base or source.provenance.served.folder
    write_adapter(source.adapter(checkpoint), folder, base_model_name=name)


def _write_merged(
    source: RunSource, spec: ExportSpec, folder: Path, cache_dir: Path, progress: Progress
) -> None:
    from workers.export.merged import merge_folder

    adapter = source.adapter(spec.checkpoint)
    base = _base_folder(source, cache_dir, progress)
    merge_folder(base, adapter, folder, progress, in_float32=spec.precision is not None)


def _write_quantized(
    source: RunSource, spec: ExportSpec, folder: Path, cache_dir: Path, progress: Progress
) -> None:
    from workers.export.quantized import quantized_base
    from workers.models.store import ModelStore

    if spec.precision is None:
        raise SpecError("format quantized needs a precision, int8 or int4", field="precision")
    _write_adapter(source, spec.checkpoint, folder / ADAPTER_FOLDER, BASE_FOLDER)
    (folder / BASE_FOLDER).mkdir()
    quantized_base(
        source.provenance,
        _base_folder(source, cache_dir, progress),
        spec.precision,
        folder / BASE_FOLDER,
        ModelStore(cache_dir).digest,
        progress,
    )


def _base_folder(source: RunSource, cache_dir: Path, progress: Progress) -> Path:
    """Return the folder of the run's own base.

    Raises:
        SpecError: the base is missing, or its content has changed.
    """
    from workers.models.store import ModelStore
    from workers.weights.checkpoint import check_folder

    record = source.provenance.base
    store = ModelStore(cache_dir)
    folder = Path(record.folder)
    model = source.provenance.job.model
    if folder.is_dir():
        check_folder(folder, model.path)
    else:
        folder = store.folder(model, progress)
    progress("checking the base")
    digest = store.digest(folder)
    if digest != record.digest:
        raise SpecError(
            f"the base {record.name} in {folder} is not the one that the run was made with "
            f"(SHA-256 {digest[:12]}… instead of {record.digest[:12]}…); put that one back, or pin "
            "model.revision in the next job",
            field="model.path",
        )
    return folder
