"""Write the zip of an export under its final name only when it is complete."""

from __future__ import annotations

import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from alignment_api import composition
from alignment_api.exports.shelf import SCRATCH
from essa.spec.export import ExportSpec


def make_archive(
    run_dir: Path,
    spec: ExportSpec,
    archive: Path,
    *,
    cache_dir: Path,
    progress: Callable[[str], None],
) -> None:
    """Write an export of a run into one zip file.

    Args:
        run_dir: the run's folder.
        spec: what to export.
        archive: path of the zip; an existing one is replaced.
        cache_dir: folder of prepared models.
        progress: called with one line of text per step.
    Raises:
        EssaError: see `composition.write_export`.
        OSError: the files cannot be written.
    """
    archive.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f"{SCRATCH}{spec.key}-", dir=archive.parent))
    try:
        content = scratch / "content"
        content.mkdir()
        composition.write_export(run_dir, spec, content, cache_dir=cache_dir, progress=progress)
        progress("packing")
        pack(content, scratch / "packed.zip")
        os.replace(scratch / "packed.zip", archive)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def pack(folder: Path, target: Path) -> None:
    """Move the files of a folder into a zip.

    Each file is deleted once it is packed, so that the disk never holds a large model twice.
    """
    with target.open("wb") as file:
        # Weights do not compress.
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as packed:
            for path in sorted(path for path in folder.rglob("*") if path.is_file()):
                packed.write(path, path.relative_to(folder))
                path.unlink()
        file.flush()
        os.fsync(file.fileno())
