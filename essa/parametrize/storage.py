"""Tensor files and atomic replacement of files and folders."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_NUMPY_DTYPES = {"F64": np.float64, "F32": np.float32, "F16": np.float16}


def decode_floats(data: bytes) -> dict[str, NDArray[np.float32]]:
    """Decode the content of a safetensors file of floats, bfloat16 included, to float32.

    Raises:
        ValueError: not a safetensors file, or a tensor that is not floating point.
    """
    # deserialize rather than safetensors.numpy: numpy has no bfloat16, and torch is not needed.
    from safetensors import SafetensorError, deserialize

    try:
        entries = deserialize(data)
    except SafetensorError as error:
        raise ValueError(f"not a safetensors file: {error}") from error
    return {name: _to_float32(name, entry) for name, entry in entries}


def _to_float32(name: str, entry: Mapping[str, Any]) -> NDArray[np.float32]:
    if entry["dtype"] == "BF16":
        # bfloat16 is the upper half of a float32.
        flat = (np.frombuffer(entry["data"], np.uint16).astype(np.uint32) << 16).view(np.float32)
    elif entry["dtype"] in _NUMPY_DTYPES:
        flat = np.frombuffer(entry["data"], _NUMPY_DTYPES[entry["dtype"]]).astype(np.float32)
    else:
        raise ValueError(f"tensor {name} is {entry['dtype']}; expected F32, F16, BF16 or F64")
    return flat.reshape(entry["shape"])


def write_file(path: Path, data: bytes) -> None:
    """Write `data` so that `path` holds either its old content or all of the new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def replace_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Make `folder` hold exactly `files`; a crash leaves no half-written folder.

    A folder cannot be exchanged in one step on every file system, so an existing one is moved
    aside first: a crash between the two renames leaves it under a hidden name beside the target.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    retired = staging.with_name(staging.name + ".old")
    try:
        content = staging / "new"
        content.mkdir()
        for name, data in files.items():
            write_file(content / name, data)
        if folder.exists():
            os.replace(folder, retired)
        os.replace(content, folder)
        _sync_folder(folder.parent)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        if folder.exists():
            shutil.rmtree(retired, ignore_errors=True)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
