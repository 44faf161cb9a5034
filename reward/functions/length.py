"""Length of the completion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reward.base import ItemReward
from reward.spec import LengthReward


class Length(ItemReward):
    """1 inside the band; outside it 1 - distance / slack, and 0 from `slack` units on.

    Words are what white space separates; characters are Unicode code points. White space at both
    ends is not counted.
    """

    def __init__(self, spec: LengthReward, path: str = "reward") -> None:
        super().__init__(path)
        self._spec = spec

    def _score_item(self, completion: str, row: Mapping[str, Any]) -> float:
        words = self._spec.unit == "words"
        size = len(completion.split()) if words else len(completion.strip())
        distance = self._distance(size)
        if distance == 0:
            return 1.0
        if distance >= self._spec.slack:
            return 0.0
        return 1.0 - distance / self._spec.slack

    def _distance(self, size: int) -> int:
        if self._spec.min is not None and size < self._spec.min:
            return self._spec.min - size
        if self._spec.max is not None and size > self._spec.max:
            return size - self._spec.max
        return 0
