"""What a job's method changes in its search: the objective, and the floor of the step size."""

from __future__ import annotations

from essa.constrained.step_size import with_sigma_floor
from essa.objective.constrained import ConstrainedObjective
from essa.objective.normalized import NormalizedObjective
from essa.objective.objective import Objective, RewardObjective
from essa.spec.constrained import ConstrainedSpec
from essa.spec.job import AlignmentJobSpec
from essa.spec.search import SearchSpec
from reward.spec import CompositeSpec


def make_objective(spec: AlignmentJobSpec, dimension: int) -> Objective:
    """The objective that a job asks for; `dimension` is D."""
    share = spec.evaluation.max_missing_frac
    if isinstance(spec.method, ConstrainedSpec):
        return ConstrainedObjective(spec.method, dimension, spec.budget.generations, share)
    if isinstance(spec.reward, CompositeSpec) and spec.reward.normalize == "running":
        weights = {part.name: part.weight for part in spec.reward.components}
        return NormalizedObjective(weights, share)
    return RewardObjective(share)


def searched_with(spec: AlignmentJobSpec, sigma_init: float) -> SearchSpec:
    """The search of a job, its step size known."""
    if isinstance(spec.method, ConstrainedSpec):
        return with_sigma_floor(spec.search, sigma_init, spec.method.sigma_floor)
    return spec.search
