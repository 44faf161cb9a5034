"""Quantise a model into a folder of the user's choice, outside the cache."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from essa.errors import SpecError
from essa.spec.engine import QuantizationMethod, QuantizationSpec
from essa.spec.model import ModelSpec
from essa.storage.faults import require_room
from workers.models.store import ModelStore
from workers.quantization.schemes import named_scheme
from workers.weights.checkpoint import weight_bytes

Progress = Callable[[str], None]


def write_quantized(
    model: ModelSpec,
    out: Path,
    *,
    scheme: str,
    settings: QuantizationSpec,
    calibration: Path | None,
    cache_dir: Path,
    is_replacing: bool,
    progress: Progress,
) -> None:
    """Write a quantised checkpoint that stock vLLM loads; on failure `out` stays as it was.

    Args:
        out: a folder that is empty or does not exist yet.
        scheme: a name of `schemes.SCHEMES`; its group size replaces that of the settings.
        calibration: JSONL of calibration texts.
        cache_dir: folder for models that are converted from packages.
        is_replacing: whether an existing model folder at `out` may be replaced.
    Raises:
        SpecError: scheme, settings, model or `out` cannot be used.
        StorageError: there is no room for the checkpoint.
        DataError: the calibration file, or one of its rows, cannot be used.
    """
    from workers.quantization.calibration import read_texts
    from workers.quantization.quantize import quantize_folder

    started_s = time.monotonic()
    precision, group_size = named_scheme(scheme)
    settings = settings.model_copy(update={"group_size": group_size})
    if settings.method is QuantizationMethod.GPTQ and calibration is None:
        raise SpecError("--method gptq needs calibration texts; give --calibration FILE")
    if calibration is not None and not settings.is_calibrated:
        raise SpecError(
            f"--calibration {calibration} is given but rounding to nearest reads no texts; give "
            "--method gptq or --keep-int8 too, or leave it out"
        )
    target = out.expanduser().resolve()
    _check_target(target, is_replacing)
    base = ModelStore(cache_dir).base(model, progress)
    if base.folder == target or target in base.folder.parents:
        raise SpecError(f"--out {out} is or holds the model itself; name another folder")
    # The head and embeddings keep their size, the rest shrinks: never larger than the base.
    require_room(target.parent, weight_bytes(base.folder), "the quantised model", "--out")
    texts = read_texts(calibration, base.folder) if calibration is not None else []

    def build(folder: Path) -> None:
        quantize_folder(base.folder, folder, precision, progress, settings=settings, texts=texts)

    _build_beside(target, build)
    before, after = (1e-6 * weight_bytes(folder) for folder in (base.folder, target))
    progress(
        f"{model.path} as {scheme} by {settings.method} lies in {out}: {after:.1f} MB instead of "
        f"{before:.1f}, {time.monotonic() - started_s:.1f} s"
    )


def _check_target(target: Path, is_replacing: bool) -> None:
    if target.exists() and not target.is_dir():
        raise SpecError(f"--out {target} is a file; name a folder")
    if not target.is_dir() or not any(target.iterdir()):
        return
    if not is_replacing:
        raise SpecError(
            f"--out {target} is not empty; name another folder, or replace it with --force"
        )
    # The whole folder is deleted, so it must be a model and not somebody's home.
    if not (target / "config.json").is_file():
        raise SpecError(
            f"--out {target} holds no model (no config.json), --force does not replace it; name "
            "another folder"
        )


def _build_beside(target: Path, build: Callable[[Path], None]) -> None:
    """Build in a temporary folder on the same disk, then rename it."""
    temporary, old = (
        target.parent / f".{target.name}-{part}-{os.getpid()}" for part in ("new", "old")
    )
    try:
        temporary.mkdir(parents=True)
    except OSError as error:
        raise SpecError(
            f"--out {target} cannot be made: {error.strerror}; name a folder on a disk that can "
            "be written"
        ) from error
    try:
        build(temporary)
        if target.is_dir():
            target.rename(old)
        temporary.rename(target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        if old.is_dir() and not target.exists():
            old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)
