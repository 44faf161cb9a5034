"""Connect to a Ray cluster, or start a local one."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import ray

from essa.errors import ClusterError
from workers.placement import Node


@contextmanager
def ray_cluster() -> Iterator[list[Node]]:
    """Join the cluster of RAY_ADDRESS, or start one on this machine and stop it at the end.

    Raises:
        ClusterError: no cluster could be reached or started.
    """
    address = os.environ.get("RAY_ADDRESS")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        if address:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        else:
            ray.init(
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                num_cpus=len(os.sched_getaffinity(0)),
            )
    except Exception as error:
        raise ClusterError(
            f"no Ray cluster at {address or 'this machine'}: {error}; RAY_ADDRESS chooses another"
        ) from error
    try:
        yield [
            Node(
                node["NodeID"],
                int(node["Resources"].get("CPU", 0)),
                int(node["Resources"].get("GPU", 0)),
            )
            for node in ray.nodes()
            if node["Alive"]
        ]
    finally:
        ray.shutdown()
