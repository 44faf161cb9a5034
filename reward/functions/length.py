"""Length of the completion."""

from __future__ import annotations

from reward.band import nearness
from reward.base import ItemReward
from reward.errors import RewardError
from reward.sample import Sample
from reward.spec import LengthReward


class Length(ItemReward[LengthReward]):
    """1 inside the band; outside it 1 - distance / slack, and 0 from `slack` units on.

    Words are what white space separates; characters are Unicode code points. White space at both
    ends is not counted. Tokens are counted by the engine that wrote them, the end token included;
    text that no model wrote has none, and its score is missing. A `target` is a band of one value.
    """

    def _score_item(self, sample: Sample) -> float:
        spec = self.spec
        low, high = (spec.min, spec.max) if spec.target is None else (spec.target, spec.target)
        return nearness(self._size(sample), low, high, spec.slack)

    def _size(self, sample: Sample) -> int:
        match self.spec.unit:
            case "words":
                return len(sample.completion.split())
            case "characters":
                return len(sample.completion.strip())
        if sample.tokens is None:
            raise RewardError(
                f"{self.path}.unit is tokens, but this text was not written by a model of the "
                f"job, so that its tokens are not known; set {self.path}.unit to words or "
                "characters",
                field=f"{self.path}.unit",
            )
        return sample.tokens
