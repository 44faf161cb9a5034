"""Reward specifications: a reward is data, not code."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class _RewardModel(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class SentimentReward(_RewardModel):
    """VADER compound sentiment of the completion, in [-1, 1]."""

    type: Literal["sentiment"] = "sentiment"


class ExactMatchReward(_RewardModel):
    """1 where the completion equals the reference column, else 0."""

    type: Literal["exact_match"] = "exact_match"
    reference: str = "answer"
    """Column of the row that holds the reference."""
    ignore_case: bool = False
    strip: bool = True
    """Ignore white space at both ends."""


class NumericMatchReward(_RewardModel):
    """1 where the last number of the completion equals that of the reference column, else 0."""

    type: Literal["numeric_match"] = "numeric_match"
    reference: str = "answer"
    tolerance: float = Field(default=1e-6, ge=0)
    """Absolute difference that still counts as equal."""


class RegexReward(_RewardModel):
    """1 where the pattern is found in the completion, else 0."""

    type: Literal["regex"] = "regex"
    pattern: str = Field(min_length=1)
    full_match: bool = False
    ignore_case: bool = False
    timeout_s: float = Field(default=0.5, gt=0)
    """A match that takes longer is a missing score."""


class LengthReward(_RewardModel):
    """1 inside the band, falling linearly to 0 over `slack` units outside it."""

    type: Literal["length"] = "length"
    unit: Literal["characters", "words"] = "words"
    min: int | None = Field(default=None, ge=0)
    max: int | None = Field(default=None, ge=0)
    slack: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _band(self) -> LengthReward:
        if self.min is None and self.max is None:
            raise ValueError("give `min`, `max` or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min is {self.min}, above max, which is {self.max}")
        return self


class KeywordsReward(_RewardModel):
    """Share of the keywords found in the completion, as whole words."""

    type: Literal["keywords"] = "keywords"
    keywords: tuple[str, ...] = ()
    column: str | None = None
    """Column of the row with further keywords: a list, or one string."""
    require: Literal["any", "all", "share"] = "share"
    """`any`: 1 where one is found; `all`: 1 where all are; `share`: the share found."""
    ignore_case: bool = True

    @model_validator(mode="after")
    def _some(self) -> KeywordsReward:
        if not self.keywords and self.column is None:
            raise ValueError("give `keywords`, `column` or both")
        return self


class CompositeComponent(_RewardModel):
    """One named part of a composite reward."""

    name: str = Field(min_length=1, pattern=r"^[A-Za-z0-9_-]+$")
    weight: float = 1.0
    reward: RewardSpec


class CompositeReward(_RewardModel):
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
