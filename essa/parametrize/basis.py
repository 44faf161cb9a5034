"""Frozen singular bases of an adapter: computed once, stored, hashed, never recomputed.

Signs and order of singular vectors are a convention, and another LAPACK may round differently, so a
search vector has no meaning without the exact bases that it was found in. Therefore a job stores
the bases, and a checkpoint records their digest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from essa.errors import AdapterError, CheckpointCorruptError, CheckpointIncompatibleError
from essa.parametrize.adapter import LoraAdapter, LoraModule
from essa.parametrize.dimension import Target, check_target, selected_count
from essa.parametrize.singular import Svd, product_svd, thin_svd
from essa.storage.atomic_file import write_file

BASIS_FILE = "basis.safetensors"
"""Name of the bases' file in a run's folder."""

_FORMAT = 1


@dataclass(frozen=True)
class ModuleSvd:
    """Decompositions of one module: of A and of B (`factors`), or of B @ A alone (`product`).

    `searched` is the number of leading singular values of each that are searched.
    """

    name: str
    scaling: float
    searched: int
    first: Svd
    second: Svd | None

    @property
    def rank(self) -> int:
        """Rank of this module's adapter."""
        return len(self.first.values)

    def parts(self) -> Iterator[tuple[str, Svd]]:
        """Yield the decompositions with their labels, in the order of a search vector."""
        yield "first", self.first
        if self.second is not None:
            yield "second", self.second


@dataclass(frozen=True)
class AdapterBasis:
    """Decompositions of all modules in model order, and the PEFT configuration for the export."""

    target: Target
    alpha: float
    modules: tuple[ModuleSvd, ...]
    config: Mapping[str, Any]

    @classmethod
    def decompose(cls, adapter: LoraAdapter, target: str, alpha: float) -> AdapterBasis:
        """Decompose a warm-start adapter in float64.

        Args:
            target: `factors` (thin SVD of A and B separately, the paper's choice) or `product`.
            alpha: fraction of the singular values that are searched, starting with the largest.
        Raises:
            AdapterError: a factor is all zero, or alpha selects nothing.
            SpecError: `target` is unknown.
        Source:
            ESSA, arXiv:2507.04453, Section 3.2 and Algorithm 1.
        """
        adapter.require_trained()
        kind = check_target(target)
        modules = tuple(_decompose(module, kind, alpha) for module in adapter.modules)
        return cls(target=kind, alpha=alpha, modules=modules, config=dict(adapter.config))

    @cached_property
    def digest(self) -> str:
        """SHA-256 of everything that the meaning of a search vector depends on, in hex."""
        hasher = hashlib.sha256(json.dumps(self._header(), sort_keys=True).encode())
        for name, array in self._tensors():
            hasher.update(name.encode())
            hasher.update(str(array.shape).encode())
            hasher.update(array.tobytes())
        return hasher.hexdigest()

    def save(self, path: str | Path) -> None:
        """Write one safetensors file, atomically."""
        from safetensors.numpy import save

        header = {**self._header(), "config": dict(self.config)}
        metadata = {"basis": json.dumps(header, sort_keys=True), "digest": self.digest}
        write_file(Path(path), save(dict(self._tensors()), metadata=metadata))

    @classmethod
    def load(cls, path: str | Path, expected_digest: str | None = None) -> AdapterBasis:
        """Read stored bases.

        Args:
            expected_digest: digest that a checkpoint recorded; None accepts any.
        Raises:
            CheckpointCorruptError: the file is unreadable or does not match its own digest.
            CheckpointIncompatibleError: the file has another format or another digest.
        """
        path = Path(path)
        metadata, tensors = _read(path)
        try:
            header = json.loads(metadata["basis"])
            if header["format"] != _FORMAT:
                raise CheckpointIncompatibleError(
                    f"{path} has basis format {header['format']}, this version reads {_FORMAT}"
                )
            basis = cls._restore(header, tensors)
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointCorruptError(f"{path} is not a stored basis: {error!r}") from error
        if basis.digest != metadata.get("digest"):
            raise CheckpointCorruptError(
                f"{path} fails its checksum: {basis.digest} instead of {metadata.get('digest')}"
            )
        if expected_digest not in (None, basis.digest):
            raise CheckpointIncompatibleError(
                f"{path} has digest {basis.digest}, the checkpoint was made with "
                f"{expected_digest}; resume with the bases of the same job"
            )
        return basis

    @classmethod
    def _restore(
        cls, header: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]
    ) -> AdapterBasis:
        modules: list[ModuleSvd] = []
        for entry in header["modules"]:
            parts = [
                Svd(*(tensors[f"{entry['name']}.{label}.{field}"] for field in Svd._fields))
                for label in entry["parts"]
            ]
            second = parts[1] if len(parts) > 1 else None
            modules.append(
                ModuleSvd(entry["name"], entry["scaling"], entry["searched"], parts[0], second)
            )
        return cls(header["target"], header["alpha"], tuple(modules), header["config"])

    def _header(self) -> dict[str, Any]:
        return {
            "format": _FORMAT,
            "target": self.target,
            "alpha": self.alpha,
            "modules": [
                {
                    "name": module.name,
                    "scaling": module.scaling,
                    "searched": module.searched,
                    "parts": [label for label, _ in module.parts()],
                }
                for module in self.modules
            ],
        }

    def _tensors(self) -> Iterator[tuple[str, NDArray[Any]]]:
        for module in self.modules:
            for label, svd in module.parts():
                for field, array in zip(svd._fields, svd, strict=True):
                    yield f"{module.name}.{label}.{field}", np.ascontiguousarray(array)


def _decompose(module: LoraModule, target: Target, alpha: float) -> ModuleSvd:
    searched = selected_count(alpha, module.rank)
    if target == "factors":
        first, second = thin_svd(module.lora_A), thin_svd(module.lora_B)
    else:
        first, second = product_svd(module.lora_B, module.lora_A), None
        if not first.values.any():
            raise AdapterError(
                f"{module.name}: B @ A is zero, so it has no singular directions; "
                "set search.target to factors or train the warm start longer"
            )
    return ModuleSvd(module.name, module.scaling, searched, first, second)


def _read(path: Path) -> tuple[dict[str, str], dict[str, NDArray[Any]]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            names = file.keys()
            return file.metadata() or {}, {name: file.get_tensor(name) for name in names}
    except (OSError, SafetensorError) as error:
        raise CheckpointCorruptError(f"{path} is unreadable: {error}") from error
