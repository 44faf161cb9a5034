"""What an actor needs to build its engine: picklable, from a job's engine specification."""

from __future__ import annotations

from dataclasses import dataclass

from essa.errors import SpecError
from essa.number_format import Activations
from essa.spec.engine import EngineSpec, Precision


@dataclass(frozen=True)
class EngineBuild:
    """Everything an actor needs to build its engine.

    `model_path` is the folder to load: for vLLM the checkpoint already in the wanted precision.
    """

    spec: EngineSpec
    model_path: str
    max_population: int
    rank: int
    target_modules: tuple[str, ...]
    has_core: bool
    seed: int
    activations: Activations | None = None
    """None takes what is fast on the machine where the engine is built."""


def settled_precision(spec: EngineSpec) -> Precision:
    """The precision of a specification whose job has settled what it computes in.

    Raises:
        SpecError: it is still `auto`.
    """
    if spec.precision == "auto":
        raise SpecError(
            "engine.precision is auto and nothing has been taken for it; set it to "
            f"{', '.join(Precision)}",
            field="engine.precision",
        )
    return spec.precision
