"""One-file checkpoints: arrays and JSON with a checksum, replaced atomically, previous one kept.

A checkpoint is a zip that `numpy.load` can open: `arrays/<name>.npy`, `meta.json` and `sha256`.
Nothing is ever unpickled. `path` is the newest checkpoint, `path.prev` the previous one.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np

from essa.errors import CheckpointCorruptError, CheckpointError, CheckpointIncompatibleError

FORMAT = 1

_ARRAYS = "arrays/"
_META = "meta.json"
_DIGEST = "sha256"
_log = logging.getLogger(__name__)
_npy = cast("Any", np.lib.format)  # numpy leaves the functions of its file format untyped


class Checkpoint(NamedTuple):
    """Content of a checkpoint."""

    arrays: dict[str, np.ndarray]
    meta: dict[str, Any]


def previous_path(path: Path) -> Path:
    """Return the path of the checkpoint before the newest."""
    return path.with_name(path.name + ".prev")


def checkpoint_exists(path: str | os.PathLike[str]) -> bool:
    """Return whether there is a newest or previous checkpoint to load."""
    return Path(path).exists() or previous_path(Path(path)).exists()


def save_checkpoint(
    path: str | os.PathLike[str], arrays: dict[str, np.ndarray], meta: dict[str, Any]
) -> None:
    """Write a checkpoint; a crash at any moment leaves a complete older or newer one.

    The new file is written next to `path` and synced; then the old one is renamed to `path.prev`
    and the new one to `path`. Only one writer per path at a time is allowed.

    Args:
        path: the file; its folder is created if needed.
        arrays: arrays of any shape and numeric, boolean or text type; dtype and memory order are
            preserved.
        meta: JSON-able data.

    Raises:
        CheckpointError: an array holds Python objects, `meta` is not JSON-able, or the disk
            refused the file.
    """
    path = Path(path)
    temporary = path.with_name(path.name + ".tmp")
    text = _encode_meta(meta)
    for name, array in arrays.items():
        if np.asarray(array).dtype.hasobject:
            raise CheckpointError(f"array {name!r} holds Python objects; a checkpoint cannot")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            _write_zip(file, arrays, text)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            path.replace(previous_path(path))
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise CheckpointError(
            f"cannot write checkpoint {path}: {error}; free space there or choose another folder"
        ) from error


def load_checkpoint(
    path: str | os.PathLike[str], on_fallback: Callable[[str], None] | None = None
) -> Checkpoint:
    """Read the newest checkpoint that is intact.

    Args:
        path: as given to `save_checkpoint`.
        on_fallback: called with a message if `path` was unusable and `path.prev` is returned, so
            that one save interval is repeated. None logs the message as a warning.

    Raises:
        CheckpointError: there is no checkpoint.
        CheckpointCorruptError: no copy is intact.
        CheckpointIncompatibleError: a newer version of this project wrote the checkpoint.
    """
    path = Path(path)
    previous = previous_path(path)
    if not checkpoint_exists(path):
        raise CheckpointError(f"there is no checkpoint at {path}; start the job anew")
    try:
        return _read(path)
    except CheckpointCorruptError as error:
        if not previous.exists():
            raise
        checkpoint = _read(previous)
        notice = f"{error.message} Continuing from the one before, {previous}."
        (on_fallback or _log.warning)(notice)
        return checkpoint


def _encode_meta(meta: dict[str, Any]) -> bytes:
    try:
        return json.dumps({"format": FORMAT, "meta": meta}).encode()
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"checkpoint meta is not JSON-able: {error}") from error


def _write_zip(file: Any, arrays: dict[str, np.ndarray], text: bytes) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            with archive.open(f"{_ARRAYS}{name}.npy", "w", force_zip64=True) as member:
                _npy.write_array(member, np.asarray(array), allow_pickle=False)
        archive.writestr(_META, text)
        archive.writestr(_DIGEST, _digest(arrays, text))


def _digest(arrays: dict[str, np.ndarray], text: bytes) -> str:
    """Return the SHA-256 of names, types, shapes and contents in name order, then the JSON text."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.asarray(arrays[name])
        digest.update(repr((name, array.dtype.str, array.shape)).encode())
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    digest.update(text)
    return digest.hexdigest()


def _read(path: Path) -> Checkpoint:
    try:
        with zipfile.ZipFile(path) as archive:
            text = archive.read(_META)
            saved_digest = archive.read(_DIGEST).decode()
            arrays = {
                name.removeprefix(_ARRAYS).removesuffix(".npy"): _read_array(archive, name)
                for name in archive.namelist()
                if name.startswith(_ARRAYS)
            }
        content = json.loads(text)
        version, meta = content["format"], content["meta"]
    except Exception as error:  # damaged bytes surface as almost any type, zlib.error included
        raise _corrupt(path, str(error) or type(error).__name__) from error
    if _digest(arrays, text) != saved_digest:
        raise _corrupt(path, "its checksum does not match")
    if version != FORMAT:
        raise CheckpointIncompatibleError(
            f"checkpoint {path} has format {version}, this version reads {FORMAT}; resume with the "
            "version that wrote it, or start the job anew"
        )
    return Checkpoint(arrays, meta)


def _read_array(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    with archive.open(name) as member:
        return _npy.read_array(member, allow_pickle=False)


def _corrupt(path: Path, reason: str) -> CheckpointCorruptError:
    return CheckpointCorruptError(
        f"Checkpoint {path} is unreadable: {reason}. Restore the file from a backup, or delete it "
        "to start the job anew.",
        path=str(path),
    )


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
