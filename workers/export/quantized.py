"""The base of a run, quantised to INT8 or INT4, for a separate adapter."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from essa.errors import SpecError
from essa.spec import Precision, QuantizationSpec
from workers.export.licence import licence_files
from workers.export.provenance import CheckpointRecord, Provenance
from workers.models.cache import MANIFEST, is_complete

Progress = Callable[[str], None]


def quantized_base(
    provenance: Provenance,
    base: Path,
    precision: Precision,
    folder: Path,
    digest_of: Callable[[Path], str],
    progress: Progress,
) -> None:
    """Write the checkpoint that the run's engines loaded, or round the base to nearest.

    Args:
        provenance: provenance of the run.
        base: folder of the unquantised base.
        precision: int8 or int4.
        folder: an empty folder.
        digest_of: hashes a model's folder; a checkpoint is used only if it matches the record.
        progress: called with one line per step.
    Raises:
        SpecError: the run's own checkpoint is missing and its quantisation needed calibration
            texts, or the base cannot be quantised.
    """
    for record in (provenance.searched, provenance.served):
        if record.precision is precision and _is_kept(record, digest_of):
            progress(f"copying the {precision} checkpoint of the run")
            shutil.copytree(
                record.folder, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(MANIFEST)
            )
            break
    else:
        _round(provenance, base, precision, folder, progress)
    for path in licence_files(base):
        shutil.copyfile(path, folder / path.name)


def _is_kept(record: CheckpointRecord, digest_of: Callable[[Path], str]) -> bool:
    folder = Path(record.folder)
    if not is_complete(folder):
        return False
    config = json.loads((folder / "config.json").read_text())
    return "quantization_config" in config and digest_of(folder) == record.digest


def _round(
    provenance: Provenance, base: Path, precision: Precision, folder: Path, progress: Progress
) -> None:
    from workers.quantization.quantize import quantize_folder

    engine = provenance.job.engine
    is_searched = not engine.quantizes_on_load and engine.precision is precision
    settings = (engine.quantization if is_searched else None) or QuantizationSpec()
    if settings.is_calibrated:
        raise SpecError(
            f"the {precision} checkpoint that the search ran on is gone from "
            f"{provenance.searched.folder}, and it was made with calibration texts; make it again "
            "with `essa quantize` and the same texts",
            field="precision",
        )
    quantize_folder(base, folder, precision, progress, settings=settings)
