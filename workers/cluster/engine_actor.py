"""The process around one engine: a Ray actor."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from essa.errors import EngineStartError
from essa.parametrize.engine_basis import EngineBasis
from essa.types import Completion
from reward.machine import usable_cores
from workers.cluster.core_claim import claim_cores
from workers.engines.base import EngineHealth, SamplingParameters
from workers.engines.build import EngineBuild
from workers.engines.registry import build_engine, engine_kind
from workers.machine.gpu_memory import await_free_memory

CONCURRENT_CALLS = 64
"""Concurrent calls that one actor accepts; the engine merges them into one batch."""


class EngineActor:
    """Owns one engine. Construction is quick; `start` loads the model.

    Args:
        cores: positions among the cores this process may use; empty for all of them. If other
            engines of this machine have claimed these cores, the engine gets as many others.
    """

    def __init__(self, build: EngineBuild, cores: Sequence[int]) -> None:
        self._build = build
        self._allowed = usable_cores()
        if len(cores) and max(cores) >= len(self._allowed):
            # Ray is configured to use more of the node than the container's quota.
            self._allowed = sorted(os.sched_getaffinity(0))
        self._cores = cores
        if cores and self._has_cores():
            own = claim_cores(self._allowed, cores)
            # Here and not in `start`: a thread inherits the affinity of the thread that creates it.
            os.sched_setaffinity(0, own)
            # The engine's library reads this when it is imported, which is later.
            os.environ.update(engine_kind(build.spec).bound(build.spec, own))

    def start(self, basis: EngineBasis | None = None, scales_N_S: Any = None) -> EngineHealth:
        """Load the model, and the bases and the population if they are given.

        Returns once the engine can generate.

        Raises:
            EngineStartError: no engine could be built, or its cores or its model are not on this
                machine.
        """
        if not self._has_cores():
            raise EngineStartError(
                f"the engine was given core {max(self._cores) + 1} of a node whose processes may "
                f"use {len(self._allowed)}; lower engine.workers or engine.cores_per_worker, or "
                "start Ray there with the right --num-cpus"
            )
        if not Path(self._build.model_path).is_dir():
            raise EngineStartError(
                f"machine {socket.gethostname()} has no folder {self._build.model_path}. Engines "
                "read the model by its path: keep ESSA_HOME, HF_HOME and your own models on "
                "storage that all machines of the cluster have at the same path"
            )
        if not self._cores:
            await_free_memory()
        self._engine = build_engine(self._build)
        if basis is not None:
            self._engine.load_basis(basis)
        if scales_N_S is not None:
            self._engine.set_population(scales_N_S)
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

    def score(
        self,
        candidates: Sequence[int],
        prompts: Sequence[Sequence[int]],
        answers: Sequence[Sequence[int]],
    ) -> list[list[Completion]]:
        """See `Engine.score`."""
        return self._engine.score(candidates, prompts, answers)

    def health(self) -> EngineHealth:
        """See `Engine.health`."""
        return self._engine.health()

    def close(self) -> None:
        """Free the model."""
        self._engine.close()

    def _has_cores(self) -> bool:
        return all(position < len(self._allowed) for position in self._cores)
