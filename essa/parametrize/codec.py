"""Search vectors to scales that engines run, and to PEFT adapters that anyone can load.

A vector holds one contiguous slice per module: k offsets for A then k for B (`factors`), or k for
B @ A (`product`). An offset of 1 adds the mean singular value of its factor, because a short SFT
leaves B far smaller than A and one step size has to suit both. Zeros are the warm start.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from essa.errors import AdapterError
from essa.parametrize.adapter import LoraAdapter, LoraModule
from essa.parametrize.basis import AdapterBasis, ModuleSvd
from essa.parametrize.engine_basis import EngineBasis, ModuleBasis
from essa.types import FloatArray


class SingularValueCodec:
    """Translates between search vectors (D), rows of scales (S) and adapters.

    Source:
        ESSA, arXiv:2507.04453, Section 3.2 (additive update); units are ours.
    """

    def __init__(self, basis: AdapterBasis) -> None:
        self.basis = basis
        starts: list[FloatArray] = []
        columns: list[NDArray[np.int64]] = []
        units: list[FloatArray] = []
        position = 0
        for module in basis.modules:
            for label, svd in module.parts():
                unit = float(svd.values.mean())
                if unit <= 0:
                    raise AdapterError(
                        f"{module.name}: the {label} factor has only zero singular values; the "
                        "search needs an SFT warm start: set warm_start.type"
                    )
                starts.append(svd.values)
                columns.append(position + np.arange(module.searched))
                units.append(np.full(module.searched, unit))
                position += module.rank
        self._start = np.concatenate(starts)
        self._columns = np.concatenate(columns)
        self._units = np.concatenate(units)

    @property
    def digest(self) -> str:
        """Identity of the bases."""
        return self.basis.digest

    @property
    def dimension(self) -> int:
        """Length of a search vector, D."""
        return len(self._columns)

    def scales(self, vectors_N_D: FloatArray) -> NDArray[np.float32]:
        """Singular values of every candidate as engines take them.

        Args:
            vectors_N_D: offsets, shape (N, D), in units of each factor's mean singular value.
        Returns:
            Shape (N, S), columns as `EngineBasis` orders them.
        Raises:
            AdapterError: another width, or a value that is not finite.
        """
        vectors_N_D = np.asarray(vectors_N_D, dtype=np.float64)
        if vectors_N_D.ndim != 2 or vectors_N_D.shape[1] != self.dimension:
            raise AdapterError(
                f"vectors have shape {vectors_N_D.shape}; expected (N, {self.dimension})"
            )
        finite = np.isfinite(vectors_N_D).all(axis=1)
        if not finite.all():
            raise AdapterError(
                f"candidate {int(np.argmin(finite))} has NaN or infinite offsets; "
                "the step size diverged: lower search.sigma_init"
            )
        scales = np.tile(self._start, (len(vectors_N_D), 1))
        scales[:, self._columns] += vectors_N_D * self._units
        return scales.astype(np.float32)

    def engine_basis(self) -> EngineBasis:
        """The frozen arrays engines hold; PEFT's scaling is in `expand` and nowhere else."""
        modules = tuple(_module_basis(module) for module in self.basis.modules)
        return EngineBasis(modules=modules, digest=self.basis.digest)

    def export(self, vector: FloatArray) -> LoraAdapter:
        """Rebuild the adapter of one candidate with the warm start's rank and configuration.

        It uses the same float32 singular values the engines use.

        Args:
            vector: offsets, shape (D,).
        Raises:
            AdapterError: another length, or a value that is not finite.
        """
        vector = np.asarray(vector, dtype=np.float64)
        if vector.ndim != 1:
            raise AdapterError(f"vector has shape {vector.shape}; expected ({self.dimension},)")
        row = self.scales(vector[None])[0]
        modules: list[LoraModule] = []
        position = 0
        for module in self.basis.modules:
            values = row[position : position + module.rank * (2 if module.second else 1)]
            modules.append(_rebuild(module, values))
            position += len(values)
        return LoraAdapter(modules=tuple(modules), config=dict(self.basis.config))


def _module_basis(module: ModuleSvd) -> ModuleBasis:
    first, second = module.first, module.second
    if second is None:
        return ModuleBasis(module.name, first.right, None, _scaled(module.scaling, first.left))
    core = second.right.astype(np.float64) @ first.left.astype(np.float64)
    return ModuleBasis(
        name=module.name,
        shrink=first.right,
        core=core.astype(np.float32),
        expand=_scaled(module.scaling, second.left),
    )


def _scaled(scaling: float, left: NDArray[np.float32]) -> NDArray[np.float32]:
    return (scaling * left.astype(np.float64)).astype(np.float32)


def _rebuild(module: ModuleSvd, values: NDArray[np.float32]) -> LoraModule:
    first, second = module.first, module.second
    if second is None:
        lora_A, lora_B = first.right, (first.left * values).astype(np.float32)
    else:
        lora_A = first.rebuild(values[: module.rank])
        lora_B = second.rebuild(values[module.rank :])
    return LoraModule(module.name, lora_A, lora_B, module.scaling)
