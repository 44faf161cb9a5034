"""Score adapters whose weights are the vector, one after the other, on the same engines."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from essa.parametrize.weights import WeightCodec
from essa.ports import Evaluator, GroupRollouts, GroupSampler
from essa.types import FloatArray, PopulationScores, Row, joined_scores
from workers.cluster.pool import EnginePool
from workers.evaluation.evaluator import PoolEvaluator


class Ones:
    """The codec of a pool that holds one adapter: its only candidate is the adapter itself."""

    def __init__(self, width: int) -> None:
        self._width = width

    def scales(self, vectors_N_D: FloatArray) -> NDArray[np.float32]:
        """Ones, shape (N, width)."""
        return np.ones((len(vectors_N_D), self._width), dtype=np.float32)


class WeightEvaluator(Evaluator, GroupSampler):
    """Loads each vector into all engines as their basis.

    Args:
        evaluator: makes the pool's own evaluator for a codec.
    """

    def __init__(
        self,
        pool: EnginePool,
        codec: WeightCodec,
        evaluator: Callable[[Ones], PoolEvaluator],
    ) -> None:
        self._pool = pool
        self._codec = codec
        self._evaluator = evaluator
        self._loaded = ""

    def evaluate(
        self,
        vectors_N_D: FloatArray,
        rows: Sequence[Row],
        *,
        with_base: bool = False,
        label: str = "",
    ) -> PopulationScores:
        parts = []
        for index, vector in enumerate(vectors_N_D):
            evaluator = self._load(vector)
            parts.append(
                evaluator.evaluate(
                    np.zeros((1, 1)), rows, with_base=with_base and index == 0, label=label
                )
            )
        return joined_scores(parts)

    def sample(
        self,
        vector: FloatArray,
        rows: Sequence[Row],
        *,
        samples: int,
        temperature: float,
        seed: int,
    ) -> GroupRollouts:
        return self._load(vector).sample(
            np.zeros(1), rows, samples=samples, temperature=temperature, seed=seed
        )

    def _load(self, vector: FloatArray) -> PoolEvaluator:
        basis = self._codec.engine_basis(vector)
        if basis.digest != self._loaded:
            self._pool.load_basis(basis)
            self._loaded = basis.digest
        return self._evaluator(Ones(basis.width))
