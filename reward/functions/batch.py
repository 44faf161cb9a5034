"""Metrics of a whole batch: of labels, of n-grams, of the values of another reward."""

from __future__ import annotations

import math
import re
from abc import abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from reward.base import NaN, RewardResult
from reward.batch import InnerReward, SummedReward
from reward.column import as_text, as_texts, read_column, unusable
from reward.extra import require_library
from reward.metrics import (
    LabelCount,
    balanced_accuracy_of,
    f1_of,
    macro_f1_of,
    pass_at_k,
    percentile_of,
    percentile_without_each,
)
from reward.resources import RewardResources
from reward.sample import Sample
from reward.spec import (
    BalancedAccuracySpec,
    CorpusBleuSpec,
    F1Spec,
    PassAtKSpec,
    PercentileSpec,
)
from reward.spec.batch import LabelMetricSpec

if TYPE_CHECKING:
    from sacrebleu.metrics.bleu import BLEU

LabelSpec = TypeVar("LabelSpec", bound=LabelMetricSpec)


class LabelReward(SummedReward[LabelSpec]):
    """A metric of how often each label was given correctly and incorrectly.

    The completion's label is the first or last of `labels` found in it as a whole word or phrase,
    from left to right; if two begin at one place, the longer one counts. A completion without any
    label counts as a miss of the correct one. The reference must equal one of the labels.
    """

    def __init__(
        self, spec: LabelSpec, path: str = "reward", resources: RewardResources | None = None
    ) -> None:
        super().__init__(spec, path, resources)
        self._classes = {spec.normal(label): index for index, label in enumerate(spec.labels)}
        # Not \b: it would never match beside a label's own punctuation, as in "C++".
        either = "|".join(
            re.escape(label) for label in sorted(self._classes, key=len, reverse=True)
        )
        self._find = re.compile(rf"(?<!\w)(?:{either})(?!\w)").finditer

    def check_row(self, columns: Mapping[str, Any]) -> None:
        self._reference(columns)

    def _statistic(self, sample: Sample) -> tuple[int, ...]:
        right, given = self._reference(sample.columns), self._given(sample.completion)
        hits, alarms, misses = ([0] * len(self._classes) for _ in range(3))
        if given == right:
            hits[right] = 1
        else:
            misses[right] = 1
            if given is not None:
                alarms[given] = 1
        return (*hits, *alarms, *misses)

    def _metric_of_total(self, total: Sequence[int]) -> float:
        size = len(self._classes)
        return self._of_counts(
            [
                LabelCount(*counts)
                for counts in zip(
                    total[:size], total[size : 2 * size], total[2 * size :], strict=True
                )
            ]
        )

    @abstractmethod
    def _of_counts(self, counts: Sequence[LabelCount]) -> float:
        """Return the metric of the counts of every class, in the order of `labels`."""

    def _given(self, completion: str) -> int | None:
        found = [match[0] for match in self._find(self.spec.normal(completion))]
        if not found:
            return None
        return self._classes[found[0 if self.spec.take == "first" else -1]]

    def _reference(self, row: Mapping[str, Any]) -> int:
        column, setting = self.spec.reference, f"{self.path}.reference"
        text = as_text(read_column(row, column, setting))
        label = None if text is None else self._classes.get(self.spec.normal(text))
        if label is None:
            names = ", ".join(self.spec.labels)
            problem = f"none of the labels {names} ({self.path}.labels)"
            raise unusable(row, column, setting, problem)
        return label


class F1(LabelReward[F1Spec]):
    """F1 of the labels read from the completions against the reference column, over the batch.

    2 * hits / (2 * hits + false alarms + misses), 0 if there is no hit. `binary` counts the label
    `positive`, `micro` all labels together; `macro` is the mean over the labels that occur among
    the references of the batch. `LabelReward` says how labels are read.
    """

    def __init__(
        self, spec: F1Spec, path: str = "reward", resources: RewardResources | None = None
    ) -> None:
        super().__init__(spec, path, resources)
        positive = spec.positive
        self._positive = None if positive is None else self._classes[spec.normal(positive)]

    def _of_counts(self, counts: Sequence[LabelCount]) -> float:
        if self._positive is not None:
            return f1_of([counts[self._positive]])
        return macro_f1_of(counts) if self.spec.average == "macro" else f1_of(counts)


class BalancedAccuracy(LabelReward[BalancedAccuracySpec]):
    """Mean recall over the classes that occur among the references of the batch.

    `LabelReward` says how labels are read.

    Source:
        Brodersen et al. (2010), The balanced accuracy and its posterior distribution, ICPR.
    """

    def _of_counts(self, counts: Sequence[LabelCount]) -> float:
        return balanced_accuracy_of(counts)


class CorpusBleu(SummedReward[CorpusBleuSpec]):
    """sacrebleu's corpus score over 100: n-gram matches and lengths are summed over the batch.

    This is not the mean of the answers' own BLEU: a long answer counts more, and the brevity
    penalty is that of the batch as a whole.

    Source:
        Papineni et al. (2002), BLEU; Post (2018), arXiv:1804.08771, for sacrebleu.
    """

    def check_row(self, columns: Mapping[str, Any]) -> None:
        self._counter()
        self._references(columns)

    def _statistic(self, sample: Sample) -> tuple[int, ...]:
        counter, references = self._counter(), self._references(sample.columns)
        score = counter.sentence_score(sample.completion, references)
        return (score.sys_len, score.ref_len, *score.counts, *score.totals)

    def _metric_of_total(self, total: Sequence[int]) -> float:
        order = self.spec.max_order
        # sacrebleu leaves one of its parameters without a type.
        score = self._counter().compute_bleu(  # pyright: ignore[reportUnknownMemberType]
            correct=list(total[2 : 2 + order]),
            total=list(total[2 + order :]),
            sys_len=total[0],
            ref_len=total[1],
            smooth_method=self.spec.smooth,
            max_ngram_order=order,
        )
        return score.score / 100

    def _counter(self) -> BLEU:
        spec = self.spec
        require_library("sacrebleu", "sacrebleu", self.path, spec.type)
        return _counter(spec.tokenize, spec.lowercase, spec.max_order)

    def _references(self, row: Mapping[str, Any]) -> list[str]:
        column, setting = self.spec.reference, f"{self.path}.reference"
        value = read_column(row, column, setting)
        texts = as_texts(value)
        usable = [text for text in texts if text is not None and text.strip()]
        if not usable or len(usable) < len(texts):
            raise unusable(row, column, setting, "not a text or a list of texts")
        return usable


@cache
def _counter(tokenize: str, lowercase: bool, max_order: int) -> BLEU:
    from sacrebleu.metrics.bleu import BLEU

    # Only the counts are used, which some smoothing methods would change. The effective order does
    # not change them, and without it sacrebleu warns at every sentence.
    return BLEU(
        tokenize=tokenize,
        lowercase=lowercase,
        max_ngram_order=max_order,
        smooth_method="none",
        effective_order=True,
    )


class _Answer(NamedTuple):
    """One scored answer to the prompt `group`."""

    group: int
    correct: bool


class PassAtK(InnerReward[PassAtKSpec, _Answer]):
    """Probability that k answers to a prompt include a correct one, averaged over prompts.

    An answer is correct if `reward` gives at least `threshold`; one without a score is left out. A
    prompt with fewer than k scored answers is missing. Prompts are independent of one another, so
    every answer carries the probability of its prompt, and no jackknife is needed. If prompts have
    different numbers of answers, values are scaled so that their mean counts prompts equally.

    Source:
        Chen et al. (2021), arXiv:2107.03374, equation 1.
    """

    def _statistics(
        self, samples: Sequence[Sample], inner: Sequence[RewardResult]
    ) -> list[_Answer | RewardResult]:
        pairs = list(zip(samples, inner, strict=True))
        scored = Counter(sample.group for sample, result in pairs if not result.missing)
        return [self._answer(sample, result, scored[sample.group]) for sample, result in pairs]

    def _answer(self, sample: Sample, inner: RewardResult, scored: int) -> _Answer | RewardResult:
        if inner.missing:
            return inner
        if scored < self.spec.k:
            return RewardResult(
                NaN,
                error=f"{self.path}: a prompt has fewer scored answers ({scored}) than "
                f"{self.path}.k = {self.spec.k}; lower it or raise rollout.samples_per_prompt",
            )
        return _Answer(sample.group, inner.value >= self.spec.threshold)

    def _metric(self, statistics: Sequence[_Answer]) -> float:
        chances = self._chances(statistics)
        return math.fsum(chances.values()) / len(chances)

    def _shares(self, statistics: Sequence[_Answer]) -> list[float]:
        chances = self._chances(statistics)
        answers = Counter(answer.group for answer in statistics)
        even = len(statistics) / max(len(chances), 1)
        return [chances[answer.group] * (even / answers[answer.group]) for answer in statistics]

    def _chances(self, statistics: Sequence[_Answer]) -> dict[int, float]:
        answers = Counter(answer.group for answer in statistics)
        correct = Counter(answer.group for answer in statistics if answer.correct)
        return {group: pass_at_k(n, correct[group], self.spec.k) for group, n in answers.items()}


class Percentile(InnerReward[PercentileSpec, float]):
    """The q-th percentile of the values that `reward` gives the answers of the batch.

    A percentile is not smooth: only answers at the percentile move it, so fitness is exact but
    noisy, and intervals from its shares are rough (`reward/metrics.py`). Large batches help.
    """

    def _statistics(
        self, samples: Sequence[Sample], inner: Sequence[RewardResult]
    ) -> list[float | RewardResult]:
        return [result if result.missing else result.value for result in inner]

    def _metric(self, statistics: Sequence[float]) -> float:
        return percentile_of(statistics, self.spec.q)

    def _without_each(self, statistics: Sequence[float]) -> list[float]:
        return percentile_without_each(statistics, self.spec.q)
