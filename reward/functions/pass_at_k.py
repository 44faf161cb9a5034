"""Whether one of several answers to a prompt is correct."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from reward.base import NaN, RewardResult
from reward.batch import InnerReward
from reward.metrics import pass_at_k
from reward.sample import Sample
from reward.spec import PassAtKReward


class Answer(NamedTuple):
    """One scored answer to the prompt `group`."""

    group: int
    correct: bool


class PassAtK(InnerReward[PassAtKReward, Answer]):
    """Chance that k answers to a prompt have a correct one among them; the mean over prompts.

    An answer is correct where `reward` gives at least `threshold`; one without a score is left out.
    A prompt with fewer than k scored answers is missing. Prompts are independent of one another, so
    every answer carries the chance of its prompt, and no leaving out is needed. Where prompts have
    different numbers of answers, values are scaled so that their mean counts prompts equally.

    Source:
        Chen et al. (2021), arXiv:2107.03374, equation 1.
    """

    def _statistics(
        self, samples: Sequence[Sample], inner: Sequence[RewardResult]
    ) -> list[Answer | RewardResult]:
        pairs = list(zip(samples, inner, strict=True))
        scored = Counter(sample.group for sample, result in pairs if not result.missing)
        return [self._answer(sample, result, scored[sample.group]) for sample, result in pairs]

    def _answer(self, sample: Sample, inner: RewardResult, scored: int) -> Answer | RewardResult:
        if inner.missing:
            return inner
        if scored < self.spec.k:
            return RewardResult(
                NaN,
                error=f"{self.path}: a prompt has fewer scored answers ({scored}) than "
                f"{self.path}.k = {self.spec.k}; lower it or raise rollout.samples_per_prompt",
            )
        return Answer(sample.group, inner.value >= self.spec.threshold)

    def _metric(self, statistics: Sequence[Answer]) -> float:
        chances = self._chances(statistics)
        return math.fsum(chances.values()) / len(chances)

    def _shares(self, statistics: Sequence[Answer]) -> list[float]:
        chances = self._chances(statistics)
        answers = Counter(answer.group for answer in statistics)
        even = len(statistics) / max(len(chances), 1)
        return [chances[answer.group] * (even / answers[answer.group]) for answer in statistics]

    def _chances(self, statistics: Sequence[Answer]) -> dict[int, float]:
        answers = Counter(answer.group for answer in statistics)
        correct = Counter(answer.group for answer in statistics if answer.correct)
        return {group: pass_at_k(n, correct[group], self.spec.k) for group, n in answers.items()}
