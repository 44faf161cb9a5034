"""What every method answers about itself; the answers given here are those of a search."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, NamedTuple, Self, cast

from essa.spec.base import SettingError, SpecModel
from essa.spec.engine import Precision
from essa.spec.search import SearchSpec, Target
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
    """Which numbers of the adapter move, in the words of `search.target` and `search.alpha`."""

    target: Target
    alpha: float


class Training(NamedTuple):
    """What a process that trains beside the engines holds in memory."""

    precision: Precision
    """Number format of the frozen base."""
    optimizer: str
    completions: int
    """Completions of one forward and backward pass."""
    adapters: int
    """Copies of the adapter: the one that is trained, and a reference where there is one."""


class BaseMethodSpec(SpecModel):
    """Questions that a method answers about its jobs. A method that is no search overrides them."""

    trains: ClassVar[bool] = False
    """Whether a process trains beside the engines. On a cluster with GPUs it has one to itself."""
    needs_score_each: ClassVar[bool] = False
    """Whether completions of one prompt are compared, so that each needs a score of its own."""
    tags: ClassVar[tuple[str, ...]] = ("evolution-strategies",)
    """Tags of the model card."""

    def check(self, job: AlignmentJobSpec) -> None:
        """Hold the rest of a job against its method.

        Raises:
            SettingError: a setting does not go with the method.
            ValueError: likewise, where no single setting is at fault.
        """
        if self.needs_score_each:
            _check_score_each(job)

    def moved(self, search: SearchSpec) -> Moved:
        """Numbers that are searched or trained."""
        return Moved(search.target, search.alpha)

    def moves_weights(self, search: SearchSpec) -> bool:
        """Whether a vector holds all weights of the adapter, not singular values."""
        return search.target == "weights"

    def searched_with(self, search: SearchSpec, sigma_init: float) -> SearchSpec:
        """The search as the method runs it, once the initial step size is known."""
        return search

    def completions(self, job: AlignmentJobSpec) -> int:
        """Completions of one generation, or of one step; 0 for a method that repeats nothing."""
        per_candidate = job.batch_size // job.groups
        return job.search.population * per_candidate * job.rollout.samples_per_prompt

    def training(self, job: AlignmentJobSpec) -> Training | None:
        """What a process that trains holds in memory; None where nothing is trained."""
        return None

    def settled(self, training: Activations) -> Self:
        """The method with every `auto` replaced.

        Args:
            training: number format in which this machine computes gradients fastest.
        """
        return self

    def made_how(self, job: AlignmentJobSpec) -> str:
        """How the adapter was made: the end of the model card's sentence `Made by ...`."""
        return (
            "without gradients after a short warm start: an evolution strategy "
            f"({job.search.type}, {job.method.type}) searched {_SEARCHED[job.search.target]}."
        )

    def ran_on(self, precision: Precision) -> str:
        """What ran on the base of the engines, for the model card."""
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
