"""How easy the completion is to read."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

from reward.band import nearness
from reward.base import ItemReward
from reward.extra import require_library
from reward.sample import Sample
from reward.spec import ReadabilityReward
from reward.syllable import count_syllables


class _Counts(NamedTuple):
    words: int
    sentences: int
    syllables: int
    long_words: int
    """Of three syllables or more."""


class Readability(ItemReward[ReadabilityReward]):
    """A readability metric of the completion, or how near it is to a band.

    With W words, S sentences, Y syllables and C words of three syllables or more:

    - flesch_reading_ease: 206.835 - 1.015 W/S - 84.6 Y/W
    - flesch_kincaid_grade: 0.39 W/S + 11.8 Y/W - 15.59
    - gunning_fog: 0.4 (W/S + 100 C/W)
    - smog_index: 3.1291 + 1.043 sqrt(30 C/S)
    - coleman_liau_index, automated_readability_index: as in textstat, from letters

    Words and sentences are textstat's: sentences of up to two words are not counted, but there is
    at least one. Syllables are counted by rule (`reward.syllable`), because textstat looks them
    up in a dictionary that it downloads. Text without words has the value 0, as in textstat, and
    scores 0 against any band.

    Source:
        Flesch (1948); Kincaid et al. (1975); Gunning (1952); McLaughlin (1969); Coleman and Liau
        (1975); Senter and Smith (1967).
    """

    def check_row(self, columns: Mapping[str, Any]) -> None:
        self._require()

    def _score_item(self, sample: Sample) -> float:
        self._require()
        spec, text = self.spec, sample.completion
        words = _textstat().selections.list_words(text)
        if not words:
            return 0.0
        value = self._value(text, words)
        if not spec.has_band:
            return value
        low, high = (spec.min, spec.max) if spec.target is None else (spec.target, spec.target)
        return nearness(value, low, high, spec.slack)

    def _require(self) -> None:
        require_library("textstat", "textstat", self.path, "readability")

    def _value(self, text: str, words: list[str]) -> float:
        metrics = _textstat().metrics
        match self.spec.metric:
            case "coleman_liau_index":
                return metrics.coleman_liau_index(text)
            case "automated_readability_index":
                return metrics.automated_readability_index(text)
        counts = _count(text, words)
        per_sentence = counts.words / counts.sentences
        per_word = counts.syllables / counts.words
        match self.spec.metric:
            case "flesch_reading_ease":
                return 206.835 - 1.015 * per_sentence - 84.6 * per_word
            case "flesch_kincaid_grade":
                return 0.39 * per_sentence + 11.8 * per_word - 15.59
            case "gunning_fog":
                return 0.4 * (per_sentence + 100 * counts.long_words / counts.words)
        return 3.1291 + 1.043 * (30 * counts.long_words / counts.sentences) ** 0.5


def _count(text: str, words: list[str]) -> _Counts:
    syllables = [count_syllables(word) for word in words]
    return _Counts(
        words=len(words),
        sentences=_textstat().counts.count_sentences(text),
        syllables=sum(syllables),
        long_words=sum(count >= 3 for count in syllables),
    )


@cache
def _textstat() -> Any:
    # Brings in nltk and with it scikit-learn, so only where text is scored.
    from textstat import backend

    return backend
