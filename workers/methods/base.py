"""The port of a method: from engines and a warm start to a result."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

from essa.coordinator.loop import Outcome
from essa.coordinator.run import Outlets, Run, Space, Start
from essa.objective.normalized import reward_objective
from essa.objective.objective import Objective
from essa.parametrize.basis import AdapterBasis
from essa.parametrize.port import Codec
from essa.ports import Evaluator
from essa.records.recorder import RunRecorder
from essa.spec.method_base import BaseMethodSpec
from workers.cluster.placement import Node
from workers.cluster.pool import EnginePool
from workers.job.context import JobContext
from workers.warm_start.stage import WarmStartResult

CHECKPOINT_FILE = "search.ckpt"

Spec = TypeVar("Spec", bound=BaseMethodSpec)


@dataclass(frozen=True)
class Found:
    """What a method came to, and what its vector stands for."""

    codec: Codec
    outcome: Outcome


class Method(ABC, Generic[Spec]):
    """The method of one job.

    Args:
        spec: `method` of the job, every `auto` of it replaced.
        context: the job.
        nodes: the cluster, for methods that run more than engines.
    Raises:
        SpecError: the cluster has no room for what the method runs beside the engines.
    """

    gpus_beside = 0
    """GPUs that the method holds beside those of the engines."""

    def __init__(self, spec: Spec, context: JobContext, nodes: list[Node]) -> None:
        self.spec = spec
        self.context = context

    @staticmethod
    def require() -> None:
        """Refuse a machine on which something that the method needs is not installed.

        Raises:
            SpecError: says what to install.
        """

    def objective(self, dimension: int) -> Objective:
        """What is maximised, and what decides on the result; `dimension` is D."""
        return reward_objective(self.context.job.spec)

    def evaluator(self, pool: EnginePool, codec: Codec) -> Evaluator:
        """Scores vectors of this codec on these engines, as the result is scored."""
        return self.context.evaluator(pool, codec)

    @abstractmethod
    def run(self, pool: EnginePool, basis: AdapterBasis, warm: WarmStartResult) -> Found:
        """Search, train or judge, and score the test set once.

        Args:
            pool: engines that run base and adapters as they should.
            basis: of the warm start.
            warm: the warm start.
        Raises:
            JobCancelledError: the user cancelled; the last checkpoint stays.
            EvaluationError, ClusterError: engines, or what runs beside them, failed for good.
        """

    @contextmanager
    def opened_run(self, pool: EnginePool, codec: Codec, warm: WarmStartResult) -> Iterator[Run]:
        """The run of the job, resumed where it has a checkpoint; its records are written."""
        job, spec = self.context.job, self.context.job.spec
        with RunRecorder(
            job.run_dir, spec.evaluation, keeps_vectors=not spec.moves_weights
        ) as recorder:
            yield Run(
                spec,
                self.objective(codec.dimension),
                self.context.data,
                Outlets(job.sink, recorder, devices=pool.devices + self.gpus_beside),
                Space(codec.dimension, codec.digest),
                Start(job.run_dir / CHECKPOINT_FILE, before=warm.as_preparation(job.elapsed_s)),
            )
