"""Base of all methods' specifications; the answers given here are those of a search."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, NamedTuple, Self, cast

from essa.spec.base import SettingError, SpecModel
from essa.spec.engine import Precision
from essa.spec.search import SearchSpec, Target, completions_of
from reward.spec import CompositeSpec, RewardSpec
from reward.spec.batch import BatchMetricSpec
from reward.spec.nesting import models_in

if TYPE_CHECKING:
    from essa.number_format import Activations
    from essa.spec.job import AlignmentJobSpec

_SEARCHED = {
    "factors": "the singular values of the adapter's A and B",
    "product": "the singular values of the adapter's B A",
    "weights": "all weights of the adapter",
}


class Moved(NamedTuple):
    """Numbers of the adapter that a method changes, as `search.target` and `search.alpha`."""

    target: Target
    alpha: float


class Training(NamedTuple):
    """Memory-relevant sizes of a process that trains beside the engines."""

    precision: Precision
    """Number format of the frozen base."""
    optimizer: str
    completions: int
    """Number of completions in one forward and backward pass."""
    adapters: int
    """Number of adapters: the trained one, plus a reference if there is one."""


class BaseMethodSpec(SpecModel):
    """Properties of a method's jobs. A method that is not a search overrides them."""

    trains: ClassVar[bool] = False
    """Whether a process trains beside the engines. On a GPU cluster it has a GPU of its own."""
    needs_score_each: ClassVar[bool] = False
    """Whether completions of one prompt are compared, so that each needs its own score."""
    tags: ClassVar[tuple[str, ...]] = ("evolution-strategies",)
    """Tags of the model card."""

    def check(self, job: AlignmentJobSpec) -> None:
        """Check that the rest of a job is compatible with its method.

        Raises:
            SettingError: a setting is incompatible with the method.
            ValueError: settings are incompatible, and no single one is at fault.
        """
        if self.needs_score_each:
            _check_score_each(job)

    def moved(self, search: SearchSpec) -> Moved:
        """Return which numbers of the adapter are searched or trained."""
        return Moved(search.target, search.alpha)

    def moves_weights(self, search: SearchSpec) -> bool:
        """Return whether a vector holds all weights of the adapter instead of singular values."""
        return search.target == "weights"

    def searched_with(self, search: SearchSpec, sigma_init: float) -> SearchSpec:
        """Return the search as the method runs it, given the initial step size."""
        return search

    def completions(self, job: AlignmentJobSpec) -> int:
        """Return the completions per generation or step; 0 for a method without either."""
        return completions_of(
            job.search, job.reward, job.batch_size, job.rollout.samples_per_prompt
        )

    def training(self, job: AlignmentJobSpec) -> Training | None:
        """Return the sizes of the training process; None if nothing is trained."""
        return None

    def settled(self, training: Activations) -> Self:
        """Return the method with every `auto` replaced.

        Args:
            training: number format in which this machine computes gradients fastest.
        """
        return self

    def made_how(self, job: AlignmentJobSpec) -> str:
        """Return how the adapter was made: the end of the model card's sentence `Made by ...`."""
        return (
            "without gradients after a short warm start: an evolution strategy "
            f"({job.search.type}, {job.method.type}) searched {_SEARCHED[job.search.target]}."
        )

    def ran_on(self, precision: Precision) -> str:
        """Return what ran on the engines' base, for the model card."""
        return f"The search ran on {precision}"


def _check_score_each(job: AlignmentJobSpec) -> None:
    method = job.method.type
    for part in models_in(job.reward, BatchMetricSpec):
        raise SettingError(
            "reward",
            cast("RewardSpec", part).type,
            f"is a metric of the whole batch, and method.type {method} needs a score for every "
            "completion; score completions one by one, or use method.type evolution",
        )
    if isinstance(job.reward, CompositeSpec) and job.reward.normalize == "running":
        raise SettingError(
            "reward.normalize",
            "running",
            f"is for populations; with method.type {method} set it to none: completions are "
            "compared within their group",
        )
