"""Sentiment of the completion."""

from __future__ import annotations

from functools import cache

from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from reward.base import ItemReward
from reward.sample import Sample
from reward.spec import SentimentReward


class Sentiment(ItemReward[SentimentReward]):
    """VADER compound score, in [-1, 1]. Text without any word of its lexicon scores 0.

    Source:
        Hutto and Gilbert (2014), VADER: A Parsimonious Rule-based Model for Sentiment Analysis
        of Social Media Text, ICWSM.
    """

    def _score_item(self, sample: Sample) -> float:
        return _analyzer().polarity_scores(sample.completion)["compound"]


@cache
def _analyzer() -> SentimentIntensityAnalyzer:
    # Reading the lexicon takes longer than scoring a thousand completions; it is never changed.
    return SentimentIntensityAnalyzer()
