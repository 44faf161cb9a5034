"""From a job's method to its objective."""

from __future__ import annotations

from essa.coordinator.constrained_objective import ConstrainedObjective
from essa.coordinator.objective import Objective, RewardObjective
from essa.spec.constrained import ConstrainedMethod
from essa.spec.job import AlignmentJobSpec


def make_objective(spec: AlignmentJobSpec, dimension: int) -> Objective:
    """The objective that a job asks for; `dimension` is D."""
    share = spec.evaluation.max_missing_frac
    if isinstance(spec.method, ConstrainedMethod):
        return ConstrainedObjective(spec.method, dimension, share)
    return RewardObjective(share)
