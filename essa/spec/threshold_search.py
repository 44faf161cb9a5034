"""Search over the thresholds of a constrained job."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, model_validator

from essa.spec.base import SpecModel

if TYPE_CHECKING:
    from essa.spec.constrained import ConstraintSpec

MOST_THRESHOLDS = 3
"""Maximum number of thresholds: with more, the budget ends before the simplex is complete."""
LEAST_SPAN = 0.1
"""Minimum distance of bounds, as a share of the range: thresholds within 5 % count as the same."""

Finite = Annotated[float, Field(allow_inf_nan=False)]


class ThresholdBoundsSpec(SpecModel):
    """Bounds of one threshold, in the component's own units."""

    component: str = Field(min_length=1)
    low: Finite
    high: Finite

    @model_validator(mode="after")
    def _ordered(self) -> ThresholdBoundsSpec:
        if self.low >= self.high:
            raise ValueError(
                f"low is {self.low:g} and high {self.high:g} for {self.component}; set low below "
                "high"
            )
        return self


class ThresholdSearchSpec(SpecModel):
    """Nelder-Mead over the thresholds within one run (arXiv:2310.04373, section 5.1, Alg. 3).

    The thresholds given in the constraints are tried first.
    """

    metric: str = Field(min_length=1)
    """Component that measures the true quality of answers, on the validation set; larger is better.
    It is neither the objective nor constrained: give it weight 0 in the composite reward."""
    bounds: tuple[ThresholdBoundsSpec, ...] = ()
    """Bounds of thresholds; a component not listed takes the range of its candidates' means."""
    settle: int = Field(default=5, ge=1)
    """Number of consecutive generations with all violations within 5 % of the ranges after which
    thresholds count as reached."""
    budget_share: float = Field(default=0.125, gt=0, le=0.5)
    """Share of `budget.generations` after which thresholds are scored even if not yet reached."""
    seed: int = Field(default=0, ge=0)
    """Seed of the first simplex."""

    @model_validator(mode="after")
    def _bounds_once(self) -> ThresholdSearchSpec:
        names = [bound.component for bound in self.bounds]
        doubles = sorted({name for name in names if names.count(name) > 1})
        if doubles:
            raise ValueError(f"bounds has {', '.join(doubles)} twice; keep one")
        return self

    def check(self, objective: str, constraints: Sequence[ConstraintSpec], controller: str) -> None:
        """Check that the threshold search is compatible with its method.

        Args:
            objective: component that the method maximises.
            constraints: constraints of the method.
            controller: `type` of the method's controller.
        Raises:
            ValueError: the thresholds cannot be searched with these settings.
        """
        names = [one.component for one in constraints]
        if controller == "fixed_weights":
            raise ValueError(
                "threshold_search moves thresholds, and controller fixed_weights does not read "
                "them; take another controller, or remove threshold_search"
            )
        if len(names) > MOST_THRESHOLDS or len(set(names)) < len(names):
            raise ValueError(
                f"threshold_search moves at most {MOST_THRESHOLDS} thresholds of different "
                f"components, and constraints has {', '.join(names)}; remove some, or "
                "threshold_search"
            )
        if self.metric in (*names, objective):
            raise ValueError(
                f"threshold_search.metric is {self.metric}, which the search itself pushes; name a "
                "component that is neither objective nor constrained"
            )
        by_name = {one.component: one for one in constraints}
        for bound in self.bounds:
            if bound.component not in by_name:
                raise ValueError(
                    f"threshold_search.bounds names {bound.component}, which is not constrained; "
                    f"name one of {', '.join(by_name)}"
                )
            _check_bound(bound, by_name[bound.component])


def _check_bound(bound: ThresholdBoundsSpec, rule: ConstraintSpec) -> None:
    if not bound.low <= rule.threshold <= bound.high:
        raise ValueError(
            f"the threshold of {bound.component} is {rule.threshold:g}, outside its bounds "
            f"{bound.low:g} to {bound.high:g}; move either"
        )
    if bound.high - bound.low < LEAST_SPAN * rule.range:
        raise ValueError(
            f"the bounds of {bound.component} are {bound.high - bound.low:g} apart, and thresholds "
            f"within 5 % of its range {rule.range:g} count as the same; set the constraint's range "
            "to what the component really spans"
        )
