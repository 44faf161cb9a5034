"""Registry of methods by name."""

from __future__ import annotations

from typing import Any

from workers.cluster.placement import Node
from workers.job.context import JobContext
from workers.methods.base import Method
from workers.methods.best_of_n import BestOfNAnswers
from workers.methods.evolution import ConstrainedEvolution, Evolution
from workers.methods.grpo import Grpo

METHODS: dict[str, type[Method[Any]]] = {
    "evolution": Evolution,
    "constrained_evolution": ConstrainedEvolution,
    "grpo": Grpo,
    "best_of_n": BestOfNAnswers,
}
"""Classes of methods by `method.type`."""


def make_method(context: JobContext, nodes: list[Node]) -> Method[Any]:
    """Build the method of a job whose formats are settled.

    Raises:
        SpecError: the cluster has no room for the processes that the method needs beside the
            engines.
    """
    spec = context.job.spec.method
    return METHODS[spec.type](spec, context, nodes)
