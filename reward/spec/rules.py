"""Rewards that a fixed rule computes from the text."""

from __future__ import annotations

from typing import Literal

import regex
from pydantic import Field, field_validator, model_validator

from reward.spec.model import RewardSpecModel


class SentimentSpec(RewardSpecModel):
    """VADER compound sentiment of the completion, in [-1, 1]."""

    type: Literal["sentiment"] = "sentiment"


class ExactMatchSpec(RewardSpecModel):
    """1 if the completion equals the reference column, else 0."""

    type: Literal["exact_match"] = "exact_match"
    reference: str = Field(default="answer", min_length=1)
    """Column of the row that holds the reference: text or a number."""
    ignore_case: bool = False
    strip: bool = True
    """Ignore white space at both ends."""


class NumericMatchSpec(RewardSpecModel):
    """1 if the last number of the completion equals that of the reference column, else 0.

    Reads `1,234.50`, `$18`, `-3`, `3/4`, `1 3/4` and their LaTeX forms; units are ignored, percent
    signs too. A completion without a number scores 0.
    """

    type: Literal["numeric_match"] = "numeric_match"
    reference: str = Field(default="answer", min_length=1)
    """Column of the row that holds the reference: a number, or text that ends in one. If the text
    has a `####`, as in GSM8K, only the text after it counts."""
    tolerance: float = Field(default=1e-6, ge=0, allow_inf_nan=False)
    """Absolute difference that still counts as equal."""


class RegexSpec(RewardSpecModel):
    """1 if the pattern is found in the completion, else 0."""

    type: Literal["regex"] = "regex"
    pattern: str = Field(min_length=1, max_length=4096)
    """Pattern in the syntax of the `regex` package, which extends that of Python's `re`."""
    full_match: bool = False
    """Require the whole completion to match, not only a part of it."""
    ignore_case: bool = False
    timeout_s: float = Field(default=0.5, gt=0, allow_inf_nan=False)
    """Longest time for a match; if it takes longer, the score is missing."""

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        try:
            regex.compile(pattern)
        except regex.error as error:
            raise ValueError(
                f"not a regular expression: {error}; correct it, and write \\ before a sign that "
                "is meant as it stands"
            ) from error
        return pattern


class LengthSpec(RewardSpecModel):
    """1 inside the band, falling linearly to 0 over `slack` units outside it.

    The band is given by `min`, `max` or both, or by `target` alone. White space at both ends is
    not counted.
    """

    type: Literal["length"] = "length"
    unit: Literal["characters", "words", "tokens"] = "words"
    """Unit of length. `tokens` are those of the model, the end token included."""
    min: int | None = Field(default=None, ge=0)
    """Shortest length in the band; by default there is none."""
    max: int | None = Field(default=None, ge=0)
    """Longest length in the band; by default there is none."""
    target: int | None = Field(default=None, ge=0)
    """Single length that scores 1; needs `slack`."""
    slack: int = Field(default=0, ge=0)
    """Distance from the band, in units, at which the reward has fallen to 0."""

    @model_validator(mode="after")
    def _band(self) -> LengthSpec:
        if self.min is None and self.max is None and self.target is None:
            raise ValueError("give `min`, `max` or both, or `target`")
        check_band(self.target, self.min, self.max, self.slack)
        return self


class RepetitionSpec(RewardSpecModel):
    """Share of the n-grams of the completion that are distinct: 1 if nothing is repeated.

    A completion too short for one n-gram scores 1, so another reward should require some length.
    """

    type: Literal["repetition"] = "repetition"
    n: int = Field(default=3, ge=1, le=100)
    """Number of consecutive units in one n-gram."""
    unit: Literal["words", "characters"] = "words"
    """Unit of the n-grams; `characters` suits languages without white space between words."""
    ignore_case: bool = True


class KeywordsSpec(RewardSpecModel):
    """Share of the keywords found in the completion, as whole words or phrases."""

    type: Literal["keywords"] = "keywords"
    keywords: tuple[str, ...] = ()
    column: str | None = Field(default=None, min_length=1)
    """Column of the row with further keywords: a list, or one string."""
    require: Literal["any", "all", "share"] = "share"
    """Score. `any`: 1 if one is found; `all`: 1 if all are found; `share`: the share found."""
    ignore_case: bool = True

    @field_validator("keywords")
    @classmethod
    def _none_is_blank(cls, keywords: tuple[str, ...]) -> tuple[str, ...]:
        if not all(keyword.strip() for keyword in keywords):
            raise ValueError(f"a keyword is blank: {list(keywords)}; remove it")
        return keywords

    @model_validator(mode="after")
    def _some(self) -> KeywordsSpec:
        if not self.keywords and self.column is None:
            raise ValueError("give `keywords`, `column` or both")
        return self


def check_band(target: float | None, low: float | None, high: float | None, slack: float) -> None:
    """Check the settings of a band of good values against each other.

    Raises:
        ValueError: the settings contradict each other; the message names them.
    """
    if target is None:
        if low is not None and high is not None and low > high:
            raise ValueError(f"min is {low}, above max, which is {high}; lower min or raise max")
        return
    if low is not None or high is not None:
        raise ValueError(
            f"target is {target}, and there is a `min` or `max` too; a band is given by its ends "
            "or by its middle alone: remove one of the two"
        )
    if slack <= 0:
        raise ValueError(
            f"target is {target} and slack {slack}; give `slack`, above 0: the distance from the "
            "target at which the reward has fallen to 0"
        )


AnyRuleSpec = (
    SentimentSpec
    | ExactMatchSpec
    | NumericMatchSpec
    | RegexSpec
    | LengthSpec
    | KeywordsSpec
    | RepetitionSpec
)
"""Every reward of this module, for the union in `reward.spec`."""
