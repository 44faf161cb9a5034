"""Length of the completion."""

from __future__ import annotations

from reward.base import ItemReward
from reward.sample import Sample
from reward.spec import LengthReward


class Length(ItemReward[LengthReward]):
    """1 inside the band; outside it 1 - distance / slack, and 0 from `slack` units on.

    Words are what white space separates; characters are Unicode code points. White space at both
    ends is not counted.
    """

    def _score_item(self, sample: Sample) -> float:
        words = self.spec.unit == "words"
        size = len(sample.completion.split()) if words else len(sample.completion.strip())
        distance = self._distance(size)
        if distance == 0:
            return 1.0
        if distance >= self.spec.slack:
            return 0.0
        return 1.0 - distance / self.spec.slack

    def _distance(self, size: int) -> int:
        if self.spec.min is not None and size < self.spec.min:
            return self.spec.min - size
        if self.spec.max is not None and size > self.spec.max:
            return size - self.spec.max
        return 0
