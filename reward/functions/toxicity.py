"""Offensive language in the completion."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from reward.base import NaN, Reward, RewardResult
from reward.errors import RewardConfigError
from reward.extra import require_library
from reward.sample import Sample
from reward.spec import ToxicityReward


class Toxicity(Reward[ToxicityReward]):
    """1 - the probability that alt-profanity-check gives to the text being offensive, in [0, 1].

    Its classifier is a calibrated linear support vector machine over the TF-IDF of single English
    words. By its documentation it was trained on the tweets of Davidson et al. and the comments
    of the Toxic Comment Classification Challenge, 200,000 texts labelled by people. It knows
    words, not meaning: quoted or negated insults count, polite cruelty and odd spellings do not.
    Text without a word it knows scores about 0.96.

    A batch is scored in one go, which is much faster than one text at a time.

    Source:
        Davidson et al. (2017), Automated Hate Speech Detection and the Problem of Offensive
        Language, arXiv:1703.04009, for a part of the data.
    """

    def check_row(self, columns: Mapping[str, Any]) -> None:
        self._require()

    def score(self, samples: Sequence[Sample]) -> list[RewardResult]:
        texts = [sample.completion for sample in samples if isinstance(sample.completion, str)]
        found = iter(self._probabilities(texts))
        return [
            next(found) if isinstance(sample.completion, str) else self._not_text(sample)
            for sample in samples
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

    def _not_text(self, sample: Sample) -> RewardResult:
        kind = type(sample.completion).__name__
        return RewardResult(NaN, error=f"{self.path}: the completion is {kind}, not text")


@cache
def _classifier() -> Callable[[list[str]], Sequence[float]]:
    # Brings in scikit-learn, so only where text is scored.
    from profanity_check import predict_prob

    return predict_prob
