"""The port of a codec: between the vectors of a search, what engines run, and adapters as files."""

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
    """What engines must be sized for. Known before the adapter is trained.

    Attributes:
        rank: the largest rank of any module.
        modules: last parts of the adapted modules' names, as in `q_proj`.
        has_core: whether bases have a core, so that a candidate has 2r scales a module; without
            one it has r.
        rows: most candidates of one load; None where a load takes as many as engines hold.
    """

    rank: int
    modules: tuple[str, ...]
    has_core: bool
    rows: int | None = None

    def slots(self, candidates: int) -> int:
        """Rows of the engines' table that so many candidates can use at once."""
        return candidates if self.rows is None else min(candidates, self.rows)


@dataclass(frozen=True)
class Load:
    """What engines are given at once: what some candidates share, and what each has of its own.

    Attributes:
        basis: shared by all candidates of the load. Engines that hold it already keep it: equal
            digests are equal bases.
        scales_N_S: float32, shape (N, S); row n is candidate n, columns as `basis` orders them.
    """

    basis: EngineBasis
    scales_N_S: NDArray[np.float32]

    @property
    def candidates(self) -> int:
        """Candidates of the load, N."""
        return len(self.scales_N_S)

    def parts(self, most: int) -> Iterator[Load]:
        """The load in order, cut into loads of at most so many candidates. Nothing is copied."""
        for start in range(0, self.candidates, most):
            yield Load(self.basis, self.scales_N_S[start : start + most])


class Codec(ABC):
    """Says what a vector of D numbers means.

    Zeros are the warm start. Equal calls give equal bits; arguments are not modified.
    """

    @property
    @abstractmethod
    def dimension(self) -> int:
        """Length of a vector, D."""

    @property
    @abstractmethod
    def digest(self) -> str:
        """Identity of what vectors stand on, in hex: under another one a vector means nothing."""

    @property
    @abstractmethod
    def layout(self) -> Layout:
        """What engines must be sized for to take the loads of this codec."""

    @abstractmethod
    def loads(self, vectors_N_D: FloatArray) -> Iterator[Load]:
        """What engines are given, load after load, to run these candidates.

        A load is made when it is asked for. The candidates of all loads, one load after the other,
        are the vectors in their order.

        Args:
            vectors_N_D: shape (N, D), N at least 1.
        Raises:
            AdapterError: vectors of another length, or a value that is not finite; when the load
                is asked for.
        """

    @abstractmethod
    def export(self, vector: FloatArray) -> LoraAdapter:
        """The adapter that a vector stands for, with rank and configuration of the warm start.

        Its values are those that engines run, in float32.

        Args:
            vector: shape (D,).
        Raises:
            AdapterError: a vector of another length, or a value that is not finite.
        """
