"""Rewards for the language of the completion."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from reward.spec.model import RewardSpecModel
from reward.spec.rules import check_band


class ReadabilitySpec(RewardSpecModel):
    """Readability of English text: nearness to a band, or the metric itself.

    With `min`, `max` or `target`: 1 in the band, falling linearly to 0 over `slack` outside it.
    Without them: the metric, which has no bounds. All but `flesch_reading_ease` are school grades,
    higher for harder text.
    """

    type: Literal["readability"] = "readability"
    metric: Literal[
        "flesch_reading_ease",
        "flesch_kincaid_grade",
        "gunning_fog",
        "smog_index",
        "coleman_liau_index",
        "automated_readability_index",
    ] = "flesch_reading_ease"
    """Metric. `flesch_reading_ease` is about 100 for very easy text, 60 to 70 for plain, below 30
    for academic text."""
    min: float | None = Field(default=None, allow_inf_nan=False)
    """Lower end of the band, included; by default there is none."""
    max: float | None = Field(default=None, allow_inf_nan=False)
    """Upper end of the band, included; by default there is none."""
    target: float | None = Field(default=None, allow_inf_nan=False)
    """Single value that scores 1; needs `slack`."""
    slack: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Distance from the band, in units of the metric, at which the reward has fallen to 0."""

    @property
    def has_band(self) -> bool:
        """False if the metric itself is the reward."""
        return not (self.min is None and self.max is None and self.target is None)

    @model_validator(mode="after")
    def _band(self) -> ReadabilitySpec:
        if self.slack and not self.has_band:
            raise ValueError(
                f"slack is {self.slack}, but there is no `min`, `max` or `target`; give one of "
                "them or remove slack"
            )
        check_band(self.target, self.min, self.max, self.slack)
        return self


class ToxicitySpec(RewardSpecModel):
    """1 minus the probability that English text is offensive: higher is cleaner.

    Computed by the linear classifier of alt-profanity-check, which weighs single words.
    """

    type: Literal["toxicity"] = "toxicity"


AnyQualitySpec = ReadabilitySpec | ToxicitySpec
"""Every reward of this module, for the union in `reward.spec`."""
