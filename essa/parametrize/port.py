"""Port of a codec, which converts search vectors to engine loads and to adapters."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from essa.parametrize.adapter import LoraAdapter
from essa.parametrize.engine_basis import EngineBasis
from essa.types import FloatArray


@dataclass(frozen=True)
class Layout:
    """Sizes that engines must provide for; known before the adapter is trained.

    Attributes:
        rank: the largest rank of any module.
        modules: last parts of the adapted modules' names, such as `q_proj`.
        has_core: whether bases have a core; a candidate has 2r scales per module with a core and r
            without.
        rows: maximum number of candidates in one load; None if only the engines limit it.
    """

    rank: int
    modules: tuple[str, ...]
    has_core: bool
    rows: int | None = None

    def slots(self, candidates: int) -> int:
        """Return how many rows of the engines' table the given candidates can use at once."""
        return candidates if self.rows is None else min(candidates, self.rows)


@dataclass(frozen=True)
class Load:
    """Data that engines receive at once: a basis that candidates share, and scales of each.

    Attributes:
        basis: basis shared by all candidates of the load. Engines that already hold it keep it:
            equal digests mean equal bases.
        scales_N_S: float32, shape (N, S); row n is candidate n, columns in the order of `basis`.
    """

    basis: EngineBasis
    scales_N_S: NDArray[np.float32]

    @property
    def candidates(self) -> int:
        """Number of candidates in the load, N."""
        return len(self.scales_N_S)

    def parts(self, most: int) -> Iterator[Load]:
        """Yield the load, in order, as loads of at most `most` candidates. Nothing is copied."""
        for start in range(0, self.candidates, most):
            yield Load(self.basis, self.scales_N_S[start : start + most])


class Codec(ABC):
    """Defines the meaning of a vector of D numbers.

    Zeros are the warm start. Equal arguments give bit-equal results; arguments are not modified.
    """

    @property
    @abstractmethod
    def dimension(self) -> int:
        """Length of a vector, D."""

    @property
    @abstractmethod
    def digest(self) -> str:
        """Hex digest of the data that gives vectors their meaning; vectors of different digests are
        not comparable."""

    @property
    @abstractmethod
    def layout(self) -> Layout:
        """Sizes that engines must provide for to accept the loads of this codec."""

    @abstractmethod
    def loads(self, vectors_N_D: FloatArray) -> Iterator[Load]:
        """Yield the loads with which engines run these candidates.

        Loads are made lazily. The candidates of all loads, in order, correspond to the vectors in
        their order.

        Args:
            vectors_N_D: shape (N, D), N at least 1.
        Raises:
            AdapterError: the vectors have another length, or a value is not finite; raised when
                the load is requested.
        """

    @abstractmethod
    def export(self, vector: FloatArray) -> LoraAdapter:
        """Return the adapter of a vector, with the rank and configuration of the warm start.

        The adapter's values are those that engines run, in float32.

        Args:
            vector: shape (D,).
        Raises:
            AdapterError: the vector has another length, or a value is not finite.
        """
