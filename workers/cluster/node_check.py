"""A check that the machines of a Ray cluster can run our engines."""

from __future__ import annotations

from collections.abc import Sequence

import ray
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from essa.errors import ClusterError
from essa.versions import installed_versions
from workers.cluster.placement import Node

DISTRIBUTION = "essa-service"
ANSWER_TIMEOUT_S = 120.0


def check_nodes(nodes: Sequence[Node]) -> None:
    """Ask every node that engines could run on for its version of this package.

    Raises:
        ClusterError: a node has another version or none, or does not answer.
    """

    # Ray sends a nested function by value, so that it runs on a node without our modules.
    def version(name: str) -> str | None:
        from importlib import metadata

        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            return None

    ask = ray.remote(num_cpus=0, max_retries=0)(version)
    answers = {
        node: ask.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node.node_id, soft=False)
        ).remote(DISTRIBUTION)
        for node in nodes
        if node.cpus or node.gpus
    }
    ours = installed_versions().get(DISTRIBUTION)
    for node, answer in answers.items():
        try:
            theirs = ray.get(answer, timeout=ANSWER_TIMEOUT_S)
        except GetTimeoutError:
            raise ClusterError(
                f"Ray node {node.address} did not answer within {ANSWER_TIMEOUT_S:g} s"
            ) from None
        except RayError as error:
            reason = str(error).strip().partition("\n")[0]
            raise ClusterError(f"Ray node {node.address} runs nothing: {reason}") from error
        if theirs != ours:
            raise ClusterError(
                f"Ray node {node.address} has {DISTRIBUTION} {theirs or '(not installed)'}, this "
                f"process has {ours or '(not installed)'}; start Ray there from an environment "
                "with the same wheel"
            )
