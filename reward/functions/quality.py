"""Rewards for the language of the answer: its readability and its toxicity."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, lru_cache
from types import ModuleType
from typing import Any, NamedTuple

from reward.base import ItemReward, NaN, Reward, RewardResult, text_fault
from reward.errors import RewardConfigError
from reward.extra import require_library
from reward.functions.rules import nearness
from reward.sample import Sample
from reward.spec import ReadabilitySpec, ToxicitySpec

# Syllables of English words, by rule. A dictionary of pronunciation must not be fetched while a job
# runs, and the package that ships one is under the GPL. Hyphenation patterns do not work either:
# they never cut off a single letter, which makes "many" one syllable.
_VOWELS = re.compile(r"[aeiouy]+")
_SILENT = re.compile(
    r"""
    (?<![aeiouyl])e$ | (?<=[aeiouy]l)e$ | (?<=rl)e$                 # time, whole; not table
  | (?<![aeiouyszxlcg])(?<![cs]h)es$ | (?<=[aeiouy]l)es$            # times, holes; not boxes
  | (?<![aeiouytdl])ed$ | (?<=[aeiouylr]l)ed$                       # walked, called; not wanted
    """,
    re.VERBOSE,
)
_APART = re.compile(
    r"""
    (?<=[aeiouy])ing | (?<=[aeiou])y(?=[ao]|e[ert])                 # going, crayon, player
  | ia(?!ge|l|n(?!o)|r) | (?<![cgstx])io(?!u) | iu | ie(?=[rt])     # piano, lion, quiet
  | eo(?!u|pl) | (?<=[dr])ea$ | (?<=cr)ea(?=t) | (?<![gq])ua | oe(?=[mt])  # video, area, create
  | ism$
    """,
    re.VERBOSE,
)


class Readability(ItemReward[ReadabilitySpec]):
    """A readability metric of the completion, or its nearness to a band.

    With W words, S sentences, Y syllables and C words of three syllables or more:

    - flesch_reading_ease: 206.835 - 1.015 W/S - 84.6 Y/W
    - flesch_kincaid_grade: 0.39 W/S + 11.8 Y/W - 15.59
    - gunning_fog: 0.4 (W/S + 100 C/W)
    - smog_index: 3.1291 + 1.043 sqrt(30 C/S)
    - coleman_liau_index, automated_readability_index: as in textstat, from letters

    Words and sentences are textstat's: sentences of up to two words are not counted, but there is
    at least one. Syllables are counted by rule (`count_syllables`), because textstat looks them
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
            case _:
                pass
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
            case "smog_index":
                return 3.1291 + 1.043 * (30 * counts.long_words / counts.sentences) ** 0.5


class _Counts(NamedTuple):
    words: int
    sentences: int
    syllables: int
    long_words: int
    """Words of three syllables or more."""


def _count(text: str, words: list[str]) -> _Counts:
    syllables = [count_syllables(word) for word in words]
    return _Counts(
        words=len(words),
        sentences=_textstat().counts.count_sentences(text),
        syllables=sum(syllables),
        long_words=sum(count >= 3 for count in syllables),
    )


@lru_cache(maxsize=65536)
def count_syllables(word: str) -> int:
    """Count the syllables of a word: vowel groups, minus silent ones, plus those spoken apart.

    In running English text the count agrees with a pronunciation dictionary for about 98 words in
    100, and errors in both directions nearly cancel out.

    Returns:
        The number of syllables, at least 1.
    """
    word = word.lower()
    apart = len(_APART.findall(word)) - len(_SILENT.findall(word))
    return max(1, len(_VOWELS.findall(word)) + apart)


@cache
def _textstat() -> ModuleType:
    # Imports nltk and with it scikit-learn, so only when text is scored.
    from textstat import backend

    return backend


class Toxicity(Reward[ToxicitySpec]):
    """1 minus the probability that the text is offensive, by alt-profanity-check, in [0, 1].

    Its classifier is a calibrated linear support vector machine over the TF-IDF of single English
    words. According to its documentation it was trained on the tweets of Davidson et al. and the
    comments of the Toxic Comment Classification Challenge, 200,000 texts labelled by people. It
    knows words, not meaning: quoted or negated insults count, polite cruelty and odd spellings do
    not. Text without a known word scores about 0.96.

    A batch is scored in one go, which is much faster than one text at a time.

    Source:
        Davidson et al. (2017), Automated Hate Speech Detection and the Problem of Offensive
        Language, arXiv:1703.04009, for a part of the data.
    """

    def check_row(self, columns: Mapping[str, Any]) -> None:
        self._require()

    def score(self, samples: Sequence[Sample]) -> list[RewardResult]:
        faults = [text_fault(self.path, sample) for sample in samples]
        pairs = zip(samples, faults, strict=True)
        found = iter(self._probabilities([one.completion for one, fault in pairs if fault is None]))
        return [
            next(found) if fault is None else RewardResult(NaN, error=fault) for fault in faults
        ]

    def _probabilities(self, texts: list[str]) -> list[RewardResult]:
        if not texts:
            return []
        try:
            self._require()
            return [RewardResult(1.0 - float(chance)) for chance in _classifier()(texts)]
        except RewardConfigError as error:
            return [RewardResult(NaN, error=error.message)] * len(texts)
        # The boundary of the batch: the message travels on with the missing scores.
        except Exception as error:
            message = f"{self.path}: unexpected {type(error).__name__}: {error}"
            return [RewardResult(NaN, error=message)] * len(texts)

    def _require(self) -> None:
        require_library("profanity_check", "alt-profanity-check", self.path, "toxicity")


@cache
def _classifier() -> Callable[[list[str]], Iterable[float]]:
    # Imports scikit-learn, so only when text is scored.
    from profanity_check import predict_prob

    return predict_prob
