"""Rewards that a fixed rule computes from the text of one answer."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import cache, lru_cache
from typing import Any

import regex
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from reward.answer.numeral import difference, last_number
from reward.answer.text import ANSWER_MARK
from reward.base import ItemReward
from reward.column import as_text, as_texts, read_column, unusable
from reward.errors import RewardError, RewardParseError, RewardTimeoutError
from reward.resources import RewardResources
from reward.sample import Sample
from reward.spec import (
    ExactMatchSpec,
    KeywordsSpec,
    LengthSpec,
    NumericMatchSpec,
    RegexSpec,
    RepetitionSpec,
    SentimentSpec,
)


class Sentiment(ItemReward[SentimentSpec]):
    """VADER compound score, in [-1, 1]. Text without any word of VADER's lexicon scores 0.

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


class ExactMatch(ItemReward[ExactMatchSpec]):
    """1 if the completion equals the reference column, else 0.

    A reference may be a string or a number; a number is compared as Python prints it.
    """

    def check_row(self, columns: Mapping[str, Any]) -> None:
        self._reference(columns)

    def _score_item(self, sample: Sample) -> float:
        reference = self._normal(self._reference(sample.columns))
        return float(self._normal(sample.completion) == reference)

    def _reference(self, row: Mapping[str, Any]) -> str:
        column, setting = self.spec.reference, f"{self.path}.reference"
        text = as_text(read_column(row, column, setting))
        if text is None:
            raise unusable(row, column, setting, "neither text nor a number")
        return text

    def _normal(self, text: str) -> str:
        if self.spec.strip:
            text = text.strip()
        return text.casefold() if self.spec.ignore_case else text


class NumericMatch(ItemReward[NumericMatchSpec]):
    """1 if the last number of the completion equals that of the reference column, else 0.

    A completion without a number scores 0: the model gave no answer. A reference without a number
    is a fault of the data: the score is missing. In a reference, only the text after the last
    `####` counts. `reward.answer.numeral.last_number` states how numbers are read.
    """

    def __init__(
        self,
        spec: NumericMatchSpec,
        path: str = "reward",
        resources: RewardResources | None = None,
    ) -> None:
        super().__init__(spec, path, resources)
        self._column = spec.reference
        self._setting = f"{path}.reference"
        self._tolerance = Decimal(str(spec.tolerance))

    def check_row(self, columns: Mapping[str, Any]) -> None:
        self._reference(columns)

    def _score_item(self, sample: Sample) -> float:
        reference = self._reference(sample.columns)
        try:
            answer = last_number(sample.completion)
        except RewardParseError:
            return 0.0
        return float(difference(answer, reference) <= self._tolerance)

    def _reference(self, row: Mapping[str, Any]) -> Decimal:
        text = as_text(read_column(row, self._column, self._setting))
        if text is None:
            raise unusable(row, self._column, self._setting, "neither text nor a number")
        try:
            return last_number(text.rpartition(ANSWER_MARK)[2])
        except RewardParseError as error:
            where = f" after {ANSWER_MARK}" if ANSWER_MARK in text else ""
            problem = f"without a number{where}"
            raise unusable(row, self._column, self._setting, problem) from error


class Regex(ItemReward[RegexSpec]):
    """1 if the pattern is found, else 0. The syntax is that of the `regex` package.

    `timeout_s` bounds each match, because a pattern that backtracks exponentially would otherwise
    hold up the whole generation.
    """

    def __init__(
        self, spec: RegexSpec, path: str = "reward", resources: RewardResources | None = None
    ) -> None:
        super().__init__(spec, path, resources)
        pattern = regex.compile(spec.pattern, regex.IGNORECASE if spec.ignore_case else 0)
        self._find = pattern.fullmatch if spec.full_match else pattern.search
        self._timeout_s = spec.timeout_s

    def _score_item(self, sample: Sample) -> float:
        try:
            return float(self._find(sample.completion, timeout=self._timeout_s) is not None)
        except TimeoutError as error:
            raise RewardTimeoutError(
                f"{self.path}.pattern gave no answer within {self._timeout_s} s; simplify it "
                f"or raise {self.path}.timeout_s",
                field=f"{self.path}.timeout_s",
            ) from error


class Length(ItemReward[LengthSpec]):
    """1 inside the band; outside it 1 - distance / slack, and 0 from `slack` units on.

    Words are separated by white space; characters are Unicode code points. White space at both
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
            case "tokens":
                if sample.tokens is not None:
                    return sample.tokens
                raise RewardError(
                    f"{self.path}.unit is tokens, but this text was not written by a model of the "
                    f"job, so that its tokens are not known; set {self.path}.unit to words or "
                    "characters",
                    field=f"{self.path}.unit",
                )


def nearness(value: float, low: float | None, high: float | None, slack: float) -> float:
    """Return 1 inside the band, and 1 - distance / slack outside it, 0 from `slack` on.

    Args:
        value: the measured value.
        low: lower end of the band, included; None leaves it open.
        high: upper end of the band, included; None leaves it open.
        slack: distance from the band at which the result reaches 0; with 0 it is all or nothing.
    """
    if low is not None and value < low:
        distance = low - value
    elif high is not None and value > high:
        distance = value - high
    else:
        return 1.0
    return 0.0 if distance >= slack else 1.0 - distance / slack


class Repetition(ItemReward[RepetitionSpec]):
    """Distinct n-grams / all n-grams of the completion: 1 if none occurs twice.

    A text of m units has m - n + 1 n-grams; one with fewer than n units, even an empty one, has
    none and scores 1. Words are separated by white space and keep their punctuation; characters are
    Unicode code points, any white space between words counted as one blank.

    Source:
        1 - seq-rep-n of Welleck et al. (2019), arXiv:1908.04319.
    """

    def _score_item(self, sample: Sample) -> float:
        spec = self.spec
        text = sample.completion.casefold() if spec.ignore_case else sample.completion
        words = text.split()
        units: Sequence[str] = words if spec.unit == "words" else " ".join(words)
        total = len(units) - spec.n + 1
        if total < 1:
            return 1.0
        distinct = {tuple(units[start : start + spec.n]) for start in range(total)}
        return len(distinct) / total


class Keywords(ItemReward[KeywordsSpec]):
    """Presence of the keywords in the completion, as whole words.

    A keyword may be a phrase; any white space between its words matches. Fixed keywords and those
    of the row's column are combined; a repeated one counts once.
    """

    def check_row(self, columns: Mapping[str, Any]) -> None:
        self._wanted(columns)

    def _score_item(self, sample: Sample) -> float:
        text, wanted = self._normal(sample.completion), self._wanted(sample.columns)
        found = [_pattern(keyword).search(text) is not None for keyword in wanted]
        if self.spec.require == "any":
            return float(any(found))
        if self.spec.require == "all":
            return float(all(found))
        return sum(found) / len(found)

    def _wanted(self, row: Mapping[str, Any]) -> list[str]:
        keywords = [*self.spec.keywords, *self._from_column(row)]
        normal = [" ".join(self._normal(keyword).split()) for keyword in keywords]
        return list(dict.fromkeys(normal))

    def _from_column(self, row: Mapping[str, Any]) -> list[str]:
        column, setting = self.spec.column, f"{self.path}.column"
        if column is None:
            return []
        value = read_column(row, column, setting)
        texts = as_texts(value)
        usable = [text for text in texts if text is not None and text.strip()]
        if len(usable) < len(texts):
            raise unusable(row, column, setting, "not a keyword or a list of keywords")
        if not usable and not self.spec.keywords:
            raise unusable(row, column, setting, f"empty, and {self.path}.keywords is too")
        return usable

    def _normal(self, text: str) -> str:
        # Models write both kinds of apostrophe.
        text = text.replace("’", "'")
        return text.casefold() if self.spec.ignore_case else text


@lru_cache(maxsize=4096)
def _pattern(keyword: str) -> re.Pattern[str]:
    words = r"\s+".join(re.escape(word) for word in keyword.split())
    # Not \b: it would never match beside a keyword's own punctuation, as in "C++".
    return re.compile(rf"(?<!\w){words}(?!\w)")
