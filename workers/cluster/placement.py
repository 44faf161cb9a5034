"""Assignment of a node, cores and GPUs to each engine. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from essa.errors import SpecError
from essa.spec.engine import EngineSpec


@dataclass(frozen=True)
class Node:
    """One machine of the Ray cluster. `cpus` is the number of cores that Ray may use there."""

    node_id: str
    cpus: int
    gpus: int = 0
    address: str = ""


@dataclass(frozen=True)
class Placement:
    """The place of one engine. On CPU it owns `cores`; on GPU Ray gives it `gpus` devices.

    `cores` are positions among the cores that Ray may use on the node: in a container or under
    taskset these need not start at 0. The node is a preference: if other jobs hold its devices, Ray
    takes another node.
    """

    node_id: str
    cores: tuple[int, ...] = ()
    gpus: int = 0


def plan_placement(spec: EngineSpec, nodes: Sequence[Node]) -> list[Placement]:
    """Give every engine its own cores (CPU cluster) or its own GPUs.

    Each engine goes to the node with the most room left. One core each beats sharing: two one-core
    engines are faster than one two-core engine.

    Raises:
        SpecError: the cluster is too small; names the setting to lower.
    """
    if any(node.gpus for node in nodes):
        return _on_gpus(spec.workers, spec.ranks, nodes)
    return _on_cores(spec, nodes)


def _on_gpus(workers: int, tensor_parallel: int, nodes: Sequence[Node]) -> list[Placement]:
    free = {node.node_id: node.gpus for node in nodes}
    placements = []
    for _ in range(workers):
        node_id = max(free, key=lambda name: free[name])
        if free[node_id] < tensor_parallel:
            raise SpecError(
                f"engine.workers {workers} x engine.tensor_parallel {tensor_parallel} GPUs do not "
                f"fit the cluster ({sum(node.gpus for node in nodes)} GPUs); lower one of them",
                field="engine.workers",
            )
        free[node_id] -= tensor_parallel
        placements.append(Placement(node_id, gpus=tensor_parallel))
    return placements


def _on_cores(spec: EngineSpec, nodes: Sequence[Node]) -> list[Placement]:
    total = sum(node.cpus for node in nodes)
    cores = spec.cores_per_worker or max(1, total // spec.workers)
    if cores % spec.ranks:
        raise SpecError(
            f"engine.tensor_parallel {spec.ranks} does not divide the {cores} cores of an engine; "
            "set engine.cores_per_worker to a multiple of it, or engine.tensor_parallel to 1",
            field="engine.tensor_parallel",
        )
    free = {node.node_id: list(range(node.cpus)) for node in nodes}
    placements = []
    for _ in range(spec.workers):
        node_id = max(free, key=lambda name: len(free[name]))
        if len(free[node_id]) < cores:
            raise SpecError(
                f"engine.workers {spec.workers} with {cores} cores each do not fit the cluster "
                f"({total} cores); lower engine.workers or engine.cores_per_worker",
                field="engine.workers",
            )
        placements.append(Placement(node_id, cores=tuple(free[node_id][:cores])))
        del free[node_id][:cores]
    return placements
