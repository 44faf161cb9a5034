"""Methods that make the adapter, selected by `method.type`."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field

from essa.spec.best_of_n import BestOfNSpec
from essa.spec.constrained import ConstrainedSpec
from essa.spec.grpo import GrpoSpec
from essa.spec.method_base import BaseMethodSpec


class EvolutionSpec(BaseMethodSpec):
    """Maximise the reward."""

    type: Literal["evolution"] = "evolution"


_Methods = EvolutionSpec | ConstrainedSpec | GrpoSpec | BestOfNSpec
MethodSpec = Annotated[_Methods, Field(discriminator="type")]
METHOD_SPECS: dict[str, type[BaseMethodSpec]] = {
    spec.model_fields["type"].default: spec for spec in get_args(_Methods)
}
"""Specification class by `type`."""
