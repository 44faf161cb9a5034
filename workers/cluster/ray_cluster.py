"""Connect to a Ray cluster, or start a local one."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import psutil
import ray

from essa.errors import ClusterError
from reward.machine import usable_cores
from workers.cluster.node_check import check_nodes
from workers.cluster.placement import Node
from workers.cluster.ray_node import own_node

ADDRESS_VARIABLE = "ESSA_RAY_ADDRESS"
BACK_OFF_S = (3.0, 10.0, 30.0)
"""Pauses between tries. A busy machine may not start Ray's processes within Ray's time limits; a
moment later it often does."""
_END_S = 10.0

logger = logging.getLogger(__name__)


def is_elsewhere() -> bool:
    """Return whether jobs of this process run on the cluster of ESSA_RAY_ADDRESS."""
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
        connect(address, **(_elsewhere(address, folder) if address else _here()))
        try:
            nodes = nodes_of_cluster()
            if address:
                check_nodes(nodes)
            yield nodes
        finally:
            ray.shutdown()


def connect(where: str | None, back_off_s: Sequence[float] = BACK_OFF_S, **arguments: Any) -> None:
    """Run `ray.init` with retries; processes that a failed try has started are ended.

    Args:
        where: address of the cluster, None for this machine.
        back_off_s: pause before each retry.
        arguments: arguments of `ray.init`.
    Raises:
        ClusterError: the last try failed too, or this process is in a cluster already.
    """
    if ray.is_initialized():
        raise ClusterError("this process is in a Ray cluster already; end it with ray.shutdown()")
    place = where or "this machine"
    before = {child.pid for child in _children_of_ray()}
    for wait_s in (*back_off_s, None):
        try:
            ray.init(log_to_driver=False, logging_level=logging.ERROR, **arguments)
            return
        except BaseException as error:
            # Otherwise its processes stay and disturb every later start. Ray itself does not know
            # the processes that a failed start has left.
            ray.shutdown()
            _end([child for child in _children_of_ray() if child.pid not in before])
            if not isinstance(error, Exception):
                raise
            if wait_s is None or isinstance(error, ValueError | TypeError):
                raise ClusterError(
                    f"no Ray cluster at {place}: {error}; {ADDRESS_VARIABLE} chooses another"
                ) from error
            logger.warning("no Ray cluster at %s yet (%s), next try in %g s", place, error, wait_s)
        time.sleep(wait_s)


def _children_of_ray() -> list[psutil.Process]:
    """Return Ray's processes that this process has started."""
    library = str(Path(ray.__file__).parent)
    found = []
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if any(library in word for word in child.cmdline()):
                found.append(child)
    return found


def _end(processes: Sequence[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(processes, timeout=_END_S)


def _elsewhere(address: str, folder: str | None) -> dict[str, Any]:
    return {"address": address, "_temp_dir": folder}


def _here() -> dict[str, Any]:
    return {
        # Otherwise Ray would join the cluster that was started last on this machine.
        "address": "local",
        "include_dashboard": False,
        "num_cpus": len(usable_cores()),
    }


def nodes_of_cluster() -> list[Node]:
    """Return the machines of the Ray cluster that this process is in."""
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
