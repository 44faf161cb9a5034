"""Mean vectors of a run, one file per generation; with the bases, they restore every adapter."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from essa.errors import CheckpointCorruptError
from essa.storage.atomic_file import write_file
from essa.types import FloatArray

FOLDER = "vectors"
NOT_KEPT = (
    "the method of the job moves all weights of the adapter, and those of single generations are "
    "not kept; the adapter that validation picked is there once the job has succeeded"
)
_SUFFIX = ".npy"


def write_vector(run_dir: Path, generation: int, vector: FloatArray) -> None:
    """Store the mean vector after a generation, shape (D,), as float64; generation 0 is the start.

    Args:
        vector: in units of the search coordinate (see the codec); zeros are the warm start.
    """
    content = io.BytesIO()
    np.save(content, np.asarray(vector, dtype=np.float64), allow_pickle=False)
    write_file(_path(run_dir, generation), content.getvalue())


def read_vector(run_dir: Path, generation: int) -> FloatArray:
    """Read the mean vector after a generation, shape (D,), float64.

    Raises:
        FileNotFoundError: the vector was not kept.
        CheckpointCorruptError: the file is damaged.
    """
    path = _path(run_dir, generation)
    try:
        return np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise CheckpointCorruptError(
            f"{path} is damaged: {error}; restore it from a backup"
        ) from error


def kept_generations(run_dir: Path) -> list[int]:
    """Return the generations whose mean vector is kept, in order."""
    return sorted(int(path.stem) for path in (run_dir / FOLDER).glob(f"[0-9]*{_SUFFIX}"))


def drop_vectors(run_dir: Path, after: int) -> None:
    """Delete the mean vectors of generations after `after`."""
    for generation in kept_generations(run_dir):
        if generation > after:
            _path(run_dir, generation).unlink(missing_ok=True)


def _path(run_dir: Path, generation: int) -> Path:
    return run_dir / FOLDER / f"{generation:06d}{_SUFFIX}"
