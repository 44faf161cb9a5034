"""The picklable description of an engine that its actor builds, from a job's specification."""

from __future__ import annotations

from dataclasses import dataclass

from essa.errors import SpecError
from essa.number_format import Activations
from essa.spec.engine import EngineSpec, Precision


@dataclass(frozen=True)
class EngineBuild:
    """Everything an actor needs to build its engine.

    `model_path` is the folder to load: for vLLM the checkpoint that already has the precision.
    """

    spec: EngineSpec
    model_path: str
    max_population: int
    rank: int
    target_modules: tuple[str, ...]
    has_core: bool
    seed: int
    activations: Activations | None = None
    """Format of activations; None takes the fast one on the machine that builds the engine."""


def settled_precision(spec: EngineSpec) -> Precision:
    """Return the precision of a specification whose job has settled its number formats.

    Raises:
        SpecError: the precision is still `auto`.
    """
    if spec.precision == "auto":
        raise SpecError(
            "engine.precision is auto and nothing has been taken for it; set it to "
            f"{', '.join(Precision)}",
            field="engine.precision",
        )
    return spec.precision
