"""The baseline without training: sample several answers and take the best by the reward."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from essa.spec.base import SpecModel


class BestOfNSpec(SpecModel):
    """Judge the warm start by the best of N sampled answers to every prompt.

    Nothing is searched or trained: `batch_size` and `budget` are not read, of `search` only
    `target` and `alpha`, in which engines hold the warm start; and the adapter of the job is the
    warm start. Who serves it pays N answers and their rewards for each that is used. The reward
    must score every completion for itself.
    """

    type: Literal["best_of_n"] = "best_of_n"
    samples: int = Field(default=8, ge=2)
    """Answers sampled for each prompt (N)."""
    temperature: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    """Of these answers. Base and warm start, shown beside them, decode as `rollout` says."""
