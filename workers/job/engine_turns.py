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
    """A job's engines: there from when they are first asked for, except while others need a GPU.

    An engine takes most of a GPU's memory, so nothing trains beside it. On CPU engines stay: what
    trains works on the cores on which they wait.

    Args:
        layout: of the codec whose loads the engines will be given.
    Raises:
        SpecError: the cluster is too small for the engines, or cannot do what the job asks for.
    """

    def __init__(
        self, context: JobContext, plan: EnginePlan, nodes: list[Node], layout: Layout
    ) -> None:
        # Now: what cannot start must not cost a training first.
        engine_placements(context.job.spec, plan, nodes)
        self._context = context
        self._plan = plan
        self._nodes = nodes
        self._layout = layout
        self._running = ExitStack()
        self._pool: EnginePool | None = None

    def pool(self) -> EnginePool:
        """The engines; starts them where they do not run.

        Raises:
            EngineStartError: an engine did not start.
        """
        if self._pool is None:
            engines = self._context.engines(self._plan, self._nodes, self._layout)
            self._pool = self._running.enter_context(engines)
        return self._pool

    def make_room(self) -> int:
        """Give way to something that trains: engines that hold the last GPUs are stopped.

        Returns:
            GPUs that it is to ask Ray for: one, or none on a cluster without any.
        """
        if not any(node.gpus for node in self._nodes):
            return 0
        if self._pool is not None and ray.available_resources().get("GPU", 0) < 1:
            self._context.job.stage("start_engines", "stopping the engines: training needs a GPU")
            self.close()
        return 1

    def close(self) -> None:
        """Stop the engines. `pool` starts new ones."""
        self._pool = None
        self._running.close()
