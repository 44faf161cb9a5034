"""Singular values of stored bases (read without singular vectors), and their change in a search."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from essa.errors import CheckpointCorruptError, CheckpointIncompatibleError
from essa.parametrize.dimension import Target, check_target
from essa.types import FloatArray

PARTS: dict[Target, tuple[str, ...]] = {"factors": ("A", "B"), "product": ("product",)}
"""Decomposed matrices of a module, in the order of a search vector."""


@dataclass(frozen=True)
class ModuleSpectrum:
    """Singular values of a module's parts, each (rank,), descending; the first `searched` move."""

    name: str
    searched: int
    parts: tuple[FloatArray, ...]


@dataclass(frozen=True)
class Spectrum:
    """Singular values of all modules, in model order."""

    target: Target
    modules: tuple[ModuleSpectrum, ...]

    @property
    def rank(self) -> int:
        """The largest rank of any module."""
        return max((len(part) for module in self.modules for part in module.parts), default=0)

    @property
    def dimension(self) -> int:
        """Length of a search vector, D."""
        return sum(module.searched * len(module.parts) for module in self.modules)

    def relative_changes(self, vector: FloatArray) -> dict[str, list[FloatArray]]:
        """Return the change of every singular value relative to the warm start.

        Args:
            vector: offsets, shape (D,).
        Returns:
            For every part, one array of shape (rank,) per module; NaN where the warm start has 0.
        Raises:
            CheckpointIncompatibleError: the vector has another length.
        """
        if vector.shape != (self.dimension,):
            raise CheckpointIncompatibleError(
                f"the vector has shape {vector.shape}, the bases of the run have {self.dimension} "
                "singular values: they belong to different runs"
            )
        labels = PARTS[self.target]
        changes: dict[str, list[FloatArray]] = {label: [] for label in labels}
        position = 0
        for module in self.modules:
            for label, values in zip(labels, module.parts, strict=True):
                moved = np.zeros(len(values))
                # An offset of 1 adds the part's mean singular value (see codec.py).
                moved[: module.searched] = vector[position : position + module.searched]
                change = np.full(len(values), np.nan)
                np.divide(moved * values.mean(), values, out=change, where=values != 0)
                changes[label].append(change)
                position += module.searched
        return changes


def read_spectrum(path: Path) -> Spectrum:
    """Read only the singular values of stored bases.

    Raises:
        FileNotFoundError: the file does not exist.
        CheckpointCorruptError: the file is damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            header = json.loads((file.metadata() or {})["basis"])
            modules = tuple(
                ModuleSpectrum(
                    entry["name"],
                    entry["searched"],
                    tuple(
                        file.get_tensor(f"{entry['name']}.{label}.values")
                        for label in entry["parts"]
                    ),
                )
                for entry in header["modules"]
            )
        return Spectrum(check_target(header["target"]), modules)
    except FileNotFoundError:
        raise
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise CheckpointCorruptError(f"{path} is not a stored basis: {error!r}") from error
