"""Repeated phrases in the completion."""

from __future__ import annotations

from collections.abc import Sequence

from reward.base import ItemReward
from reward.sample import Sample
from reward.spec import RepetitionReward


class Repetition(ItemReward[RepetitionReward]):
    """Distinct n-grams / all n-grams of the completion: 1 where none comes twice.

    A text of m units has m - n + 1 n-grams; one with fewer than n units has none and scores 1, an
    empty one too. Words are what white space separates, with their punctuation; characters are
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
