"""Engines and training take turns on the GPUs of a job."""

from __future__ import annotations

from contextlib import ExitStack

import ray

from essa.parametrize.port import Layout
from workers.cluster.placement import Node
from workers.cluster.pool import EnginePool
from workers.job.context import JobContext
from workers.job.engine_plan import EnginePlan, engine_placements


class EngineTurns:
    """A job's engines, started at first use and stopped while training needs their GPU.

    An engine takes most of a GPU's memory, so nothing can train on the same GPU. On CPU the engines
    stay, and training uses the cores of the waiting engines.

    Args:
        context: the job.
        plan: engines to start.
        nodes: nodes of the cluster.
        layout: layout of the codec whose loads the engines will receive.
    Raises:
        SpecError: the cluster is too small for the engines, or does not support what the job
            requires.
    """

    def __init__(
        self, context: JobContext, plan: EnginePlan, nodes: list[Node], layout: Layout
    ) -> None:
        # Checked now, so that a job whose engines cannot start fails before its training.
        engine_placements(context.job.spec, plan, nodes)
        self._context = context
        self._plan = plan
        self._nodes = nodes
        self._layout = layout
        self._running = ExitStack()
        self._pool: EnginePool | None = None

    def pool(self) -> EnginePool:
        """Return the running engines, starting them if necessary.

        Raises:
            EngineStartError: an engine did not start.
        """
        if self._pool is None:
            engines = self._context.engines(self._plan, self._nodes, self._layout)
            self._pool = self._running.enter_context(engines)
        return self._pool

    def make_room(self) -> int:
        """Make room for training: stop the engines if they hold all GPUs.

        Returns:
            Number of GPUs that the training must request from Ray: 1, or 0 on a cluster without
            GPUs.
        """
        if not any(node.gpus for node in self._nodes):
            return 0
        if self._pool is not None and ray.available_resources().get("GPU", 0) < 1:
            self._context.job.stage("start_engines", "stopping the engines: training needs a GPU")
            self.close()
        return 1

    def close(self) -> None:
        """Stop the engines; `pool` starts new ones."""
        self._pool = None
        self._running.close()
