"""Reward specifications: a reward is data, not code.

Higher is better for every reward. What a reward computes in detail stands in the class of the
same name under `reward/functions/`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from reward.spec.model import RewardModel
from reward.spec.rules import (
    ExactMatchReward,
    KeywordsReward,
    LengthReward,
    NumericMatchReward,
    RegexReward,
    SentimentReward,
)

MAX_NESTING = 8
"""Composites inside composites; far above any sensible job, far below the recursion limit."""


class CompositeComponent(RewardModel):
    """One named part of a composite reward."""

    name: str = Field(min_length=1, pattern=r"^[A-Za-z0-9_-]+$")
    """Name under which its unweighted value is reported."""
    weight: float = Field(default=1.0, allow_inf_nan=False)
    """Negative to punish, 0 to report only."""
    reward: RewardSpec


class CompositeReward(RewardModel):
    """Weighted sum of named components. Missing where any component is missing."""

    type: Literal["composite"] = "composite"
    components: tuple[CompositeComponent, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _unique_names(self) -> CompositeReward:
        names = [component.name for component in self.components]
        doubles = sorted({name for name in names if names.count(name) > 1})
        if doubles:
            raise ValueError(f"component names must differ; given twice: {', '.join(doubles)}")
        return self

    @model_validator(mode="after")
    def _shallow(self) -> CompositeReward:
        depth, level = 0, [self]
        while level:
            depth += 1
            inner = [part.reward for composite in level for part in composite.components]
            level = [reward for reward in inner if isinstance(reward, CompositeReward)]
        if depth > MAX_NESTING:
            raise ValueError(f"composites are nested {depth} deep; {MAX_NESTING} is the most")
        return self


RewardSpec = Annotated[
    SentimentReward
    | ExactMatchReward
    | NumericMatchReward
    | RegexReward
    | LengthReward
    | KeywordsReward
    | CompositeReward,
    Field(discriminator="type"),
]

CompositeComponent.model_rebuild()
CompositeReward.model_rebuild()

__all__ = [
    "MAX_NESTING",
    "CompositeComponent",
    "CompositeReward",
    "ExactMatchReward",
    "KeywordsReward",
    "LengthReward",
    "NumericMatchReward",
    "RegexReward",
    "RewardSpec",
    "SentimentReward",
]
