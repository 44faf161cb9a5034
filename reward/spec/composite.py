"""Rewards made of named other rewards."""

from __future__ import annotations

import keyword
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from reward.formula import MAX_LENGTH, Formula, FormulaError
from reward.spec.model import RewardSpecModel
from reward.spec.nesting import depth_of, models_in

if TYPE_CHECKING:
    from reward.spec import RewardSpec

MAX_NESTING = 8
"""Deepest nesting of composites; far above any sensible job, far below the recursion limit."""


class CompositeComponentSpec(RewardSpecModel):
    """One named part of a composite reward."""

    name: str = Field(min_length=1, pattern=r"^[A-Za-z0-9_-]+$")
    """Name under which the unweighted value is reported. A formula needs a plain name: letters,
    digits and `_`, not starting with a digit."""
    weight: float = Field(default=1.0, allow_inf_nan=False)
    """Factor in a `sum`, negative to penalize; exponent in a `product`. With 0 the component is
    only reported. `min` takes 1 or 0; a `formula` contains its own weights, so leave 1 here."""
    reward: RewardSpec


class CompositeSpec(RewardSpecModel):
    """Named components, combined into one value. Missing if any component is missing.

    A `sum` is computed answer by answer. So are the others, unless a component is a metric of the
    batch (`f1`, `balanced_accuracy`, `corpus_bleu`, `pass_at_k`, `percentile`, or a composite of
    these): only the mean of such a component is meaningful, so the means of all components over
    the batch are combined, and every answer gets its share of the result.
    """

    type: Literal["composite"] = "composite"
    components: tuple[CompositeComponentSpec, ...] = Field(min_length=1)
    combine: Literal["sum", "product", "min", "formula"] = "sum"
    """Combination. `sum`: sum of weight times value; `product`: product of value to the power of
    weight; `min`: the smallest value, so that no component can be traded for another; `formula`:
    the arithmetic given in `formula`."""
    normalize: Literal["none", "running"] = "none"
    """Scaling of the components. With `running`, the search ranks the candidates of a generation by
    the weighted sum of values divided by each component's running standard deviation over the
    population, so that a weight counts the same whatever the component's scale. Validation, targets
    and results use the plain sum. Only for the outermost composite of a job and `combine: sum`."""
    formula: str | None = Field(default=None, min_length=1, max_length=MAX_LENGTH)
    """Arithmetic over component names: `0.5 * tone + max(0, topic - 0.2)`. Numbers, `+ - * / //
    % **`, comparisons (1 or 0), `x if condition else y`, and the functions min, max, abs, floor,
    ceil, exp, log, sqrt, clip(value, low, high) and round. A component that is not named is only
    reported. If a step has no finite value, such as a division by 0, the score is missing."""

    @model_validator(mode="after")
    def _unique_names(self) -> CompositeSpec:
        names = [component.name for component in self.components]
        doubles = sorted({name for name in names if names.count(name) > 1})
        if doubles:
            raise ValueError(f"component names must differ; given twice: {', '.join(doubles)}")
        return self

    @model_validator(mode="after")
    def _shallow(self) -> CompositeSpec:
        depth = depth_of(self, CompositeSpec)
        if depth > MAX_NESTING:
            raise ValueError(
                f"composites are nested {depth} deep; {MAX_NESTING} is the most, so name the "
                "inner components further out"
            )
        return self

    @model_validator(mode="after")
    def _normalized_sum(self) -> CompositeSpec:
        if self.normalize != "none" and self.combine != "sum":
            raise ValueError(
                f"`normalize: {self.normalize}` needs `combine: sum`, and it is {self.combine}; "
                "change one of them"
            )
        inner = [part for part in models_in(self, CompositeSpec) if part is not self]
        if any(part.normalize != "none" for part in inner):
            raise ValueError(
                "a composite inside another has `normalize`, which only the outermost can have; "
                "remove it there"
            )
        return self

    @model_validator(mode="after")
    def _weights_fit(self) -> CompositeSpec:
        allowed = {"min": (0.0, 1.0), "formula": (1.0,)}.get(self.combine)
        for component in self.components:
            if allowed is not None and component.weight not in allowed:
                fix = (
                    "1, or 0 to report only" if self.combine == "min" else "1; weigh in the formula"
                )
                raise ValueError(
                    f"component {component.name} has weight {component.weight:g}, which "
                    f"`combine: {self.combine}` has no use for; leave it at {fix}"
                )
        if self.combine == "min" and not any(part.weight for part in self.components):
            raise ValueError("every component has weight 0, which leaves none to take; use 1")
        return self

    @model_validator(mode="after")
    def _formula_fits(self) -> CompositeSpec:
        if self.formula is None:
            if self.combine == "formula":
                raise ValueError("`combine: formula` needs a `formula`")
            return self
        if self.combine != "formula":
            raise ValueError(
                f"`formula` is not read with `combine: {self.combine}`; set it to formula"
            )
        names = [component.name for component in self.components]
        for name in names:
            if not name.isidentifier() or keyword.iskeyword(name):
                raise ValueError(
                    f"component name {name!r} cannot stand in a formula, which takes letters, "
                    f"digits and _, no digit in front; rename it, such as {_plain(name)!r}"
                )
        try:
            Formula(self.formula, names)
        except FormulaError as error:
            raise ValueError(f"formula: {error}") from error
        return self


def _plain(name: str) -> str:
    plain = name.replace("-", "_")
    return plain if plain.isidentifier() and not keyword.iskeyword(plain) else f"c_{plain}"
