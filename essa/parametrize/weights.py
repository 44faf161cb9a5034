"""Vectors of all weights of an adapter, for gradient training and for a control search.

A vector holds one slice per module: A row by row, then B. Zeros are the warm start; an offset of 1
adds the root mean square of its factor's weights, because a short SFT leaves B far smaller than A.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from essa.errors import AdapterError
from essa.parametrize.adapter import LoraAdapter, LoraModule
from essa.parametrize.engine_basis import EngineBasis, ModuleBasis
from essa.parametrize.port import Codec, Layout, Load
from essa.types import FloatArray

Factors = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Factors of one module: lora_A (r, in) and lora_B (out, r)."""


class WeightCodec(Codec):
    """Codec whose vectors move all weights of the warm start: every vector is a load of its own.

    Args:
        start: the warm start.
    Raises:
        AdapterError: a factor is all zero, so its offsets have no unit.
    """

    def __init__(self, start: LoraAdapter) -> None:
        start.require_trained()
        self._start = start
        self._units = [_rms(factor) for factor in _factors(start)]
        hasher = hashlib.sha256()
        for factor in _factors(start):
            hasher.update(np.ascontiguousarray(factor).tobytes())
        self._digest = hasher.hexdigest()

    @staticmethod
    def layout_of(rank: int, modules: tuple[str, ...]) -> Layout:
        """Return the layout of a codec before its warm start exists.

        Args:
            rank: the largest rank of any module.
            modules: last parts of the modules' names.
        """
        return Layout(rank, modules, has_core=False, rows=1)

    @property
    def layout(self) -> Layout:
        rank = max(module.rank for module in self._start.modules)
        return self.layout_of(rank, tuple(sorted(self._start.target_modules)))

    @property
    def digest(self) -> str:
        return self._digest

    @property
    def dimension(self) -> int:
        return sum(factor.size for factor in _factors(self._start))

    def vector(self, weights: Mapping[str, Factors]) -> FloatArray:
        """Return the vector of an adapter of the same shape, shape (D,).

        Args:
            weights: factors by module name.
        Raises:
            AdapterError: a module is missing, or a factor has another shape.
        """
        parts: list[FloatArray] = []
        for module, unit_A, unit_B in self._modules():
            try:
                lora_A, lora_B = weights[module.name]
            except KeyError:
                raise AdapterError(f"the trained adapter lacks module {module.name}") from None
            if (lora_A.shape, lora_B.shape) != (module.lora_A.shape, module.lora_B.shape):
                raise AdapterError(
                    f"{module.name}: trained factors have shapes {lora_A.shape} and "
                    f"{lora_B.shape}, the warm start {module.lora_A.shape} and "
                    f"{module.lora_B.shape}"
                )
            parts.append(((lora_A.astype(np.float64) - module.lora_A) / unit_A).ravel())
            parts.append(((lora_B.astype(np.float64) - module.lora_B) / unit_B).ravel())
        return np.concatenate(parts)

    def loads(self, vectors_N_D: FloatArray) -> Iterator[Load]:
        for vector in vectors_N_D:
            basis = self.engine_basis(vector)
            yield Load(basis, np.ones((1, basis.width), dtype=np.float32))

    def export(self, vector: FloatArray) -> LoraAdapter:
        vector = np.asarray(vector, dtype=np.float64)
        if vector.shape != (self.dimension,):
            raise AdapterError(f"vector has shape {vector.shape}; expected ({self.dimension},)")
        modules: list[LoraModule] = []
        position = 0
        for module, unit_A, unit_B in self._modules():
            lora_A, position = _moved(module.lora_A, vector, position, unit_A)
            lora_B, position = _moved(module.lora_B, vector, position, unit_B)
            modules.append(LoraModule(module.name, lora_A, lora_B, module.scaling))
        return LoraAdapter(tuple(modules), self._start.config)

    def engine_basis(self, vector: FloatArray) -> EngineBasis:
        """Return the adapter as a basis of the kind `product`; a row of ones runs the adapter.

        Args:
            vector: shape (D,).
        Raises:
            AdapterError: as for `export`.
        """
        adapter = self.export(vector)
        modules = tuple(
            ModuleBasis(
                module.name,
                module.lora_A,
                None,
                (module.scaling * module.lora_B.astype(np.float64)).astype(np.float32),
            )
            for module in adapter.modules
        )
        scalings = np.array([module.scaling for module in adapter.modules])
        hasher = hashlib.sha256(self._digest.encode())
        hasher.update(scalings.tobytes() + np.ascontiguousarray(vector).tobytes())
        return EngineBasis(modules, hasher.hexdigest())

    def _modules(self) -> Iterator[tuple[LoraModule, float, float]]:
        units = iter(self._units)
        for module in self._start.modules:
            yield module, next(units), next(units)


def _factors(adapter: LoraAdapter) -> Iterator[NDArray[np.float32]]:
    for module in adapter.modules:
        yield module.lora_A
        yield module.lora_B


def _rms(values: NDArray[np.float32]) -> float:
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))


def _moved(
    start: NDArray[np.float32], vector: FloatArray, position: int, unit: float
) -> tuple[NDArray[np.float32], int]:
    stop = position + start.size
    offsets = vector[position:stop].reshape(start.shape)
    return (start + unit * offsets).astype(np.float32), stop
