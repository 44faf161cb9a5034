"""Connect to a Ray cluster, or start a local one."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import ray

from essa.errors import ClusterError
from reward.machine import usable_cores
from workers.node_check import check_nodes
from workers.placement import Node
from workers.ray_node import own_node

ADDRESS_VARIABLE = "ESSA_RAY_ADDRESS"


def is_elsewhere() -> bool:
    """Whether jobs of this process run on the cluster of ESSA_RAY_ADDRESS."""
    return bool(os.environ.get(ADDRESS_VARIABLE))


@contextmanager
def ray_cluster() -> Iterator[list[Node]]:
    """Join the cluster of ESSA_RAY_ADDRESS, or start one on this machine and stop it at the end.

    Raises:
        ClusterError: no cluster could be reached or started, or its nodes cannot run engines.
    """
    address = os.environ.get(ADDRESS_VARIABLE)
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    joined: AbstractContextManager[str | None] = own_node(address) if address else nullcontext()
    with joined as folder:
        try:
            ray.init(
                **(_elsewhere(address, folder) if address else _here()),
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        except Exception as error:
            raise ClusterError(
                f"no Ray cluster at {address or 'this machine'}: {error}; {ADDRESS_VARIABLE} "
                "chooses another"
            ) from error
        try:
            nodes = nodes_of_cluster()
            if address:
                check_nodes(nodes)
            yield nodes
        finally:
            ray.shutdown()


def _elsewhere(address: str, folder: str | None) -> dict[str, Any]:
    return {"address": address, "_temp_dir": folder}


def _here() -> dict[str, Any]:
    return {
        # Otherwise Ray would join whatever cluster was started last on this machine.
        "address": "local",
        "include_dashboard": False,
        "num_cpus": len(usable_cores()),
    }


def nodes_of_cluster() -> list[Node]:
    """Machines of the Ray cluster that this process is in."""
    return [
        Node(
            node["NodeID"],
            int(node["Resources"].get("CPU", 0)),
            int(node["Resources"].get("GPU", 0)),
            node["NodeManagerAddress"],
        )
        for node in ray.nodes()
        if node["Alive"]
    ]
