"""An engine in a Ray actor of its own behind the engine port, the way the pool runs it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray

from essa.errors import EngineStoppedError
from workers.cluster.engine_actor import EngineActor
from workers.cluster.ray_cluster import connect
from workers.engines.base import Engine
from workers.engines.build import EngineBuild
from workers.engines.registry import process_environment


@contextmanager
def local_ray(cores: int) -> Iterator[None]:
    """A Ray cluster on this machine that ends with the block, however it ends."""
    connect(None, address="local", include_dashboard=False, num_cpus=cores)
    try:
        yield
    finally:
        ray.shutdown()


class RemoteEngine(Engine):
    """Forwards every call to an `EngineActor`. vLLM wants a process per engine."""

    def __init__(self, build: EngineBuild, cores: tuple[int, ...] = (0,)) -> None:
        environment = process_environment(build.spec, cores)
        self.actor: Any = (
            ray.remote(EngineActor)
            .options(num_cpus=0, max_concurrency=8, runtime_env={"env_vars": environment})
            .remote(build, cores)
        )
        try:
            ray.get(self.actor.start.remote())
        except BaseException:
            self.close()
            raise

    def load_basis(self, basis):
        self._call("load_basis", basis)

    def set_population(self, scales_N_S):
        self._call("set_population", scales_N_S)

    def generate(self, candidates, prompts, parameters):
        return self._call("generate", candidates, prompts, parameters)

    def score(self, candidates, prompts, answers):
        return self._call("score", candidates, prompts, answers)

    def health(self):
        return self._call("health")

    def close(self):
        if self.actor is not None:
            ray.kill(self.actor)
            self.actor = None

    def _call(self, method: str, *arguments: Any) -> Any:
        if self.actor is None:
            raise EngineStoppedError("the engine is closed")
        return ray.get(getattr(self.actor, method).remote(*arguments))
