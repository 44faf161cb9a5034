"""The baseline without training: sample several answers and take the best by the reward."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from essa.spec.base import SettingError
from essa.spec.engine import Precision
from essa.spec.method_base import BaseMethodSpec

if TYPE_CHECKING:
    from essa.spec.job import AlignmentJobSpec


class BestOfNSpec(BaseMethodSpec):
    """Judge the warm start by the best of N sampled answers to every prompt.

    Nothing is searched or trained: the job's adapter is the warm start. `batch_size` and `budget`
    are ignored, and so is `search`, except `target` and `alpha`, which set how engines hold the
    warm start. Serving costs N answers and their rewards for each answer used. The reward must
    score every completion separately.
    """

    needs_score_each = True
    tags = ("best-of-n",)

    type: Literal["best_of_n"] = "best_of_n"
    samples: int = Field(default=8, ge=2)
    """Number of answers sampled for each prompt (N)."""
    temperature: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    """Sampling temperature of the N answers. Base and warm start, which are reported for
    comparison, decode as set in `rollout`."""

    def check(self, job: AlignmentJobSpec) -> None:
        super().check(job)
        if job.search.target == "weights":
            raise SettingError(
                "search.target",
                "weights",
                "has nothing to move with method.type best_of_n; leave search.target out",
            )

    def completions(self, job: AlignmentJobSpec) -> int:
        return 0

    def made_how(self, job: AlignmentJobSpec) -> str:
        return (
            "by a short warm start alone. `aligned` below is the best of "
            f"{self.samples} answers sampled at temperature {self.temperature:g}, by "
            "the reward: to have that score, sample as many and choose as the reward does."
        )

    def ran_on(self, precision: Precision) -> str:
        return f"Answers were sampled on {precision}"
