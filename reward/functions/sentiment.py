"""Sentiment of the completion."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from reward.base import ItemReward
from reward.spec import SentimentReward


class Sentiment(ItemReward):
    """VADER compound score, in [-1, 1]. Text without any word of its lexicon scores 0.

    Source:
        Hutto and Gilbert (2014), VADER: A Parsimonious Rule-based Model for Sentiment Analysis
        of Social Media Text, ICWSM.
    """

    def __init__(self, spec: SentimentReward, path: str = "reward") -> None:
        super().__init__(path)
        self._analyzer = _analyzer()

    def _score_item(self, completion: str, row: Mapping[str, Any]) -> float:
        return self._analyzer.polarity_scores(completion)["compound"]


@cache
def _analyzer() -> SentimentIntensityAnalyzer:
    # Reading the lexicon takes longer than scoring a thousand completions; it is never changed.
    return SentimentIntensityAnalyzer()
