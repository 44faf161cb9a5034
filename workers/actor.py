"""The process around one engine: a Ray actor."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from essa.parametrize.engine_basis import EngineBasis
from essa.types import Completion
from workers.engines.base import EngineHealth, SamplingParameters
from workers.engines.build import EngineBuild, build_engine

CONCURRENT_CALLS = 64
"""Calls one actor takes at once; the engine merges them into one batch."""


class EngineActor:
    """Owns one engine. Construction is quick; `start` loads the model."""

    def __init__(self, build: EngineBuild, cores: Sequence[int]) -> None:
        self._build = build
        if cores:
            os.sched_setaffinity(0, cores)

    def start(self) -> EngineHealth:
        """Load the model; returns once it can generate."""
        self._engine = build_engine(self._build)
        return self._engine.health()

    def load_basis(self, basis: EngineBasis) -> None:
        """See `Engine.load_basis`."""
        self._engine.load_basis(basis)

    def set_population(self, scales_N_S: Any) -> None:
        """See `Engine.set_population`."""
        self._engine.set_population(scales_N_S)

    def generate(
        self,
        candidates: Sequence[int],
        prompts: Sequence[Sequence[int]],
        parameters: SamplingParameters,
    ) -> list[list[Completion]]:
        """See `Engine.generate`."""
        return self._engine.generate(candidates, prompts, parameters)

    def health(self) -> EngineHealth:
        """See `Engine.health`."""
        return self._engine.health()

    def close(self) -> None:
        """Free the model."""
        self._engine.close()
