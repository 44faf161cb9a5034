"""A scorer of conversations that needs no model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from reward.resources import TextScorer


class CountOfGood(TextScorer):
    """Counts how often the answer says good; keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[list[Mapping[str, str]]] = []
        self.closed = 0

    def score(self, conversations: Sequence[Sequence[Mapping[str, str]]]) -> list[float | str]:
        self.asked += map(list, conversations)
        return [float(turns[-1]["content"].count("good")) for turns in conversations]

    def close(self) -> None:
        self.closed += 1
