"""Constrained search: one component is maximised, others are held at thresholds.

The method of Moskovitz et al. (2023), Confronting Reward Model Overoptimization with Constrained
RLHF, arXiv:2310.04373, adapted to an evolution strategy: instead of advantages it mixes the fitness
of each component, standardised over the population.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from essa.spec.base import SpecModel
from essa.spec.method_base import BaseMethodSpec
from essa.spec.search import SearchSpec
from essa.spec.threshold_search import ThresholdSearchSpec
from reward.spec import CompositeSpec

if TYPE_CHECKING:
    from essa.spec.job import AlignmentJobSpec

DISTANCE = "distance"
"""Component that every job has: Euclidean distance of a vector from the warm start, divided by the
square root of its dimension, in search units. As the objective, it is minimised."""

Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class ConstraintSpec(SpecModel):
    """Hold one component at a threshold."""

    component: str = Field(min_length=1)
    """Name of a component of the composite reward, or `distance`."""
    direction: Literal[">=", "<=", "="] = ">="
    threshold: Finite
    range: Positive = 1.0
    """Range of the component in its own units, such as 1 for shares; the unit of violations."""
    tolerance: float = Field(default=0.02, ge=0, allow_inf_nan=False)
    """Largest violation, as a share of `range`, with which the constraint still counts as held."""


class _ControllerSpec(SpecModel):
    measure: Literal["population_mean", "distribution_mean"] = "distribution_mean"
    """Source of the component values that violations are computed from. `distribution_mean` rolls
    out the mean vector, the model that would be kept, as one more candidate in every generation.
    `population_mean` costs nothing, but candidates score lower than the mean vector, by curvature
    times sigma squared: far lower at the large step sizes that text needs."""
    ema: float = Field(default=0.5, ge=0, lt=1)
    """Weight of past generations in the smoothed component values. All candidates share a batch, so
    their mean contains its noise; smoothing averages it over generations."""
    warmup_generations: int = Field(default=0, ge=0)
    """Number of generations before the multipliers start to change."""


class _BoundedControllerSpec(_ControllerSpec):
    mixing: Literal["odds", "paper"] = "paper"
    """Formula of the fitness. `paper`, equation 4.4: (K - sum phi_i) z_0 + sum phi_i z_i. `odds`:
    z_0 + sum phi_i / (1 - |phi_i|) z_i, which gives the same ranks for one constraint with
    phi >= 0. With several constraints, `paper` limits the weight of one relative to the objective
    by the weights of the others: next to satisfied ones, a violated one may never be reached."""
    learning_rate: Positive = 0.1
    """Change of a raw multiplier per violation of one standard deviation of the population."""
    damping: float = Field(default=0.3, ge=0, allow_inf_nan=False)
    """Share of the current violation added to the raw multiplier (proportional term), in the same
    units: a purely integrating controller oscillates around its threshold."""
    clip: Positive = 4.0
    """Bound on the magnitude of raw multipliers. A multiplier at its bound does not integrate
    further (anti-windup), so it recovers at once when the violation changes sign."""


class MuControllerSpec(_BoundedControllerSpec):
    """Inequalities, weights in (0, 1): the logistic function of raw multipliers (mu-PPO)."""

    type: Literal["mu"] = "mu"
    mixing: Literal["odds", "paper"] = "odds"
    """Formula of the fitness. `paper`, equation 4.4: (K - sum phi_i) z_0 + sum phi_i z_i. `odds`:
    z_0 + sum phi_i / (1 - |phi_i|) z_i, which gives the same ranks for one constraint. With several
    constraints, `paper` limits the weight of one relative to the objective by the weights of the
    others: next to satisfied ones, a violated one may never be reached."""


class XiControllerSpec(_BoundedControllerSpec):
    """Equalities, weights in (-1, 1): the hyperbolic tangent of raw multipliers (xi-PPO)."""

    type: Literal["xi"] = "xi"


class AugmentedLagrangianControllerSpec(_ControllerSpec):
    """Multipliers and a quadratic penalty, in units of the population's standard deviations."""

    type: Literal["augmented_lagrangian"] = "augmented_lagrangian"
    penalty: Positive = 0.35
    """Quadratic penalty. It sets the immediate pull towards a threshold; the multipliers, which
    grow by penalty x violation / damping per generation, bring the search onto the threshold."""
    adapt_penalty: bool = False
    """Whether to adapt each constraint's penalty (Atamna, Auger and Hansen 2017) between a tenth
    and ten times its initial value."""
    damping: Positive = 10.0
    max_multiplier: Positive = 20.0
    """Bound on a multiplier; a multiplier that stays there indicates an unreachable threshold."""


class ExactPenaltyControllerSpec(_ControllerSpec):
    """Objective minus a fixed multiple of every violation, in standard deviations."""

    type: Literal["exact_penalty"] = "exact_penalty"
    penalty: Positive = 2.0


class FixedWeightsControllerSpec(_ControllerSpec):
    """Objective plus fixed multiples of the components, for comparison: thresholds only affect
    which constraints count as held."""

    type: Literal["fixed_weights"] = "fixed_weights"
    weights: tuple[Finite, ...] = Field(min_length=1)
    """Weights of the components in standard deviations: one per constraint, in the same order."""


ControllerSpec = Annotated[
    MuControllerSpec
    | XiControllerSpec
    | AugmentedLagrangianControllerSpec
    | ExactPenaltyControllerSpec
    | FixedWeightsControllerSpec,
    Field(discriminator="type"),
]


class ConstrainedSpec(BaseMethodSpec):
    """Maximise one component of a composite reward while holding others at thresholds.

    The result is the mean vector with the highest objective on the validation set among those that
    satisfy every constraint there; if none does, the one with the smallest violation.
    """

    type: Literal["constrained_evolution"] = "constrained_evolution"
    objective: str = Field(min_length=1)
    """Name of a component of the composite reward, or `distance`."""
    constraints: tuple[ConstraintSpec, ...] = Field(min_length=1)
    controller: ControllerSpec = AugmentedLagrangianControllerSpec()
    threshold_search: ThresholdSearchSpec | None = None
    """Search over the thresholds as well; the result is then the vector with the best metric."""
    sigma_floor: float = Field(default=0.05, ge=0, lt=1)
    """Minimum step size as a share of its initial value, for searches with a `sigma_min`:
    multipliers move the optimum, and a collapsed step size could not follow."""

    @model_validator(mode="after")
    def _fits_the_controller(self) -> ConstrainedSpec:
        kind = self.controller.type
        for index, one in enumerate(self.constraints):
            where = f"constraints.{index}.direction is {one.direction!r}"
            if kind == "mu" and one.direction == "=":
                raise ValueError(
                    f"{where}, and controller mu holds inequalities only; use xi or "
                    "augmented_lagrangian, or the direction '>=' or '<='"
                )
            if kind == "xi" and one.direction != "=":
                raise ValueError(
                    f"{where}, and controller xi holds equalities only; use mu or "
                    "augmented_lagrangian, or the direction '='"
                )
        return self

    @model_validator(mode="after")
    def _thresholds_can_be_searched(self) -> ConstrainedSpec:
        if self.threshold_search is not None:
            self.threshold_search.check(self.objective, self.constraints, self.controller.type)
        return self

    @model_validator(mode="after")
    def _weights_match(self) -> ConstrainedSpec:
        if isinstance(self.controller, FixedWeightsControllerSpec):
            given, wanted = len(self.controller.weights), len(self.constraints)
            if given != wanted:
                raise ValueError(
                    f"controller.weights has {given} entries for {wanted} constraints; give one "
                    "per constraint"
                )
        return self

    @model_validator(mode="after")
    def _no_doubles(self) -> ConstrainedSpec:
        seen: set[tuple[str, str]] = set()
        for index, one in enumerate(self.constraints):
            if (one.component, one.direction) in seen:
                raise ValueError(
                    f"constraints.{index} constrains {one.component} {one.direction} again; keep "
                    "one of them"
                )
            if one.component == self.objective:
                raise ValueError(
                    f"constraints.{index}.component is the objective, {one.component}; constrain "
                    "another component or maximise another"
                )
            seen.add((one.component, one.direction))
        return self

    def check(self, job: AlignmentJobSpec) -> None:
        if not isinstance(job.reward, CompositeSpec):
            raise ValueError(
                f"method.type is constrained_evolution but reward.type is {job.reward.type}; "
                "write the objective and what is constrained as components of a composite reward"
            )
        known = {DISTANCE, *(part.name for part in job.reward.components)}
        places = {"method.objective": self.objective} | {
            f"method.constraints.{index}.component": one.component
            for index, one in enumerate(self.constraints)
        }
        if self.threshold_search is not None:
            places["method.threshold_search.metric"] = self.threshold_search.metric
        for place, name in places.items():
            if name not in known:
                raise ValueError(
                    f"{place} is {name!r}, which is no component of the reward; it has "
                    f"{', '.join(sorted(known))}"
                )

    def searched_with(self, search: SearchSpec, sigma_init: float) -> SearchSpec:
        """Return the search with `sigma_min` raised to a share of the initial step size.

        While a multiplier is near 0, the start itself is optimal: the step size shrinks, and the
        later optimum is out of reach. A search with a fixed step size has no `sigma_min` and is
        returned unchanged.
        """
        floor = getattr(search, "sigma_min", None)
        if floor is None:
            return search
        return search.model_copy(update={"sigma_min": max(floor, self.sigma_floor * sigma_init)})
