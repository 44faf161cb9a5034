"""Convert search vectors to the scales that engines run, and to PEFT adapters.

A vector holds one contiguous slice per module: k offsets for A, then k for B (`factors`), or k for
B @ A (`product`). An offset of 1 adds the mean singular value of its factor, because a short SFT
leaves B far smaller than A and one step size has to suit both. Zeros are the warm start.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from essa.errors import AdapterError
from essa.parametrize.adapter import LoraAdapter, LoraModule
from essa.parametrize.basis import AdapterBasis, ModuleSvd
from essa.parametrize.dimension import Target
from essa.parametrize.engine_basis import EngineBasis, ModuleBasis
from essa.parametrize.port import Codec, Layout, Load
from essa.types import FloatArray


class SingularValueCodec(Codec):
    """Codec whose vectors move the singular values of stored bases: a population is one load.

    Raises:
        AdapterError: all singular values of a factor are zero, so its offsets have no unit.
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

    @staticmethod
    def layout_of(rank: int, modules: tuple[str, ...], target: Target) -> Layout:
        """Return the layout of a codec before its bases exist.

        Args:
            rank: the largest rank of any module.
            modules: last parts of the modules' names.
            target: the decomposed matrices, `factors` or `product`.
        """
        return Layout(rank, modules, has_core=target == "factors")

    @property
    def layout(self) -> Layout:
        names = {module.name.rpartition(".")[2] for module in self.basis.modules}
        rank = max(module.rank for module in self.basis.modules)
        return self.layout_of(rank, tuple(sorted(names)), self.basis.target)

    @property
    def digest(self) -> str:
        return self.basis.digest

    @property
    def dimension(self) -> int:
        return len(self._columns)

    def loads(self, vectors_N_D: FloatArray) -> Iterator[Load]:
        yield Load(self.engine_basis(), self.scales(vectors_N_D))

    def scales(self, vectors_N_D: FloatArray) -> NDArray[np.float32]:
        """Return the singular values of every candidate, as engines use them.

        Args:
            vectors_N_D: offsets, shape (N, D), in units of each factor's mean singular value.
        Returns:
            Shape (N, S), float32, columns in the order of `EngineBasis`.
        Raises:
            AdapterError: the width is not D, or a value is not finite.
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
        """Return the frozen arrays that engines hold; only `expand` contains PEFT's scaling.

        The arrays are computed at the first call.
        """
        return self._engine_basis

    def export(self, vector: FloatArray) -> LoraAdapter:
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

    @cached_property
    def _engine_basis(self) -> EngineBasis:
        modules = tuple(_module_basis(module) for module in self.basis.modules)
        return EngineBasis(modules=modules, digest=self.basis.digest)


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
