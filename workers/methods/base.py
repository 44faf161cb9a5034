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
    """Outcome of a method, and the codec of its vector."""

    codec: Codec
    outcome: Outcome


class Method(ABC, Generic[Spec]):
    """The method of one job.

    Args:
        spec: `method` of the job, with every `auto` replaced.
        context: the job.
        nodes: nodes of the cluster, for methods that run more than engines.
    Raises:
        SpecError: the cluster has no room for the processes that the method needs beside the
            engines.
    """

    gpus_beside = 0
    """Number of GPUs that the method holds in addition to those of the engines."""

    def __init__(self, spec: Spec, context: JobContext, nodes: list[Node]) -> None:
        self.spec = spec
        self.context = context

    @staticmethod
    def require() -> None:
        """Refuse a machine that lacks a package required by the method.

        Raises:
            SpecError: a package is missing; the message says what to install.
        """

    def objective(self, dimension: int) -> Objective:
        """Return the objective to maximise and to select the result by; `dimension` is D."""
        return reward_objective(self.context.job.spec)

    def evaluator(self, pool: EnginePool, codec: Codec) -> Evaluator:
        """Return an evaluator that scores vectors of a codec on engines as the result is scored."""
        return self.context.evaluator(pool, codec)

    @abstractmethod
    def run(self, pool: EnginePool, basis: AdapterBasis, warm: WarmStartResult) -> Found:
        """Search, train or judge, and score the test set once.

        Args:
            pool: engines that passed the gate.
            basis: bases of the warm start.
            warm: the warm start.
        Raises:
            JobCancelledError: the user cancelled; the last checkpoint stays.
            EvaluationError, ClusterError: engines, or processes beside them, failed permanently.
        """

    @contextmanager
    def opened_run(self, pool: EnginePool, codec: Codec, warm: WarmStartResult) -> Iterator[Run]:
        """Open the job's run, resumed from its checkpoint if it has one, and record it."""
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
