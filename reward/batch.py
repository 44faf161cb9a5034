"""Metrics of a whole batch behind the reward port: every answer carries its share of the metric.

`reward/metrics.py` says how a metric is shared out. The mean of the shares is the metric, so that
fitness and everything else that takes means over prompts works as for any reward. A single share is
no score of its answer: it may lie outside the range of the metric.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Generic, TypeVar

from reward.base import NaN, Reward, RewardResult, Spec, attempt
from reward.metrics import shares_of
from reward.resources import RewardResources
from reward.sample import Need, Sample
from reward.spec.batch import InnerMetricSpec

Statistic = TypeVar("Statistic", bound=Hashable)
InnerSpec = TypeVar("InnerSpec", bound=InnerMetricSpec)


class BatchReward(Reward[Spec], Generic[Spec, Statistic]):
    """A metric of all answers of a batch: subclasses give `_metric` of one statistic per answer.

    An answer without a statistic (not text, no usable reference) is missing, and the metric is that
    of the others. One usable answer alone has the metric as its value. Where the metric of the
    batch cannot be computed, every answer is missing.
    """

    @property
    def is_batch(self) -> bool:
        return True

    @abstractmethod
    def _metric(self, statistics: Sequence[Statistic]) -> float:
        """The metric of at least one answer. Must not depend on their order."""

    def _without_each(self, statistics: Sequence[Statistic]) -> list[float]:
        """The metric without each of at least two answers; equal statistics are computed once."""
        known: dict[Statistic, float] = {}
        for index, statistic in enumerate(statistics):
            if statistic not in known:
                known[statistic] = self._metric([*statistics[:index], *statistics[index + 1 :]])
        return [known[statistic] for statistic in statistics]

    def _shares(self, statistics: Sequence[Statistic]) -> list[float]:
        """What each answer carries; the mean is the metric."""
        if len(statistics) < 2:
            return [self._metric([statistic]) for statistic in statistics]
        return shares_of(self._metric(statistics), self._without_each(statistics))

    def _share_out(self, statistics: Sequence[Statistic | RewardResult]) -> list[RewardResult]:
        """Results of answers that have a statistic, or a result that says why they have none."""
        usable = [entry for entry in statistics if not isinstance(entry, RewardResult)]
        try:
            results = [RewardResult(share) for share in self._shares(usable)]
        # A metric has no smaller boundary than its batch, and the job must go on without this one.
        except Exception as error:
            message = f"{self.path}: the batch has no value: {type(error).__name__}: {error}"
            results = [RewardResult(NaN, error=message)] * len(usable)
        rest = iter(results)
        return [entry if isinstance(entry, RewardResult) else next(rest) for entry in statistics]


class SummedReward(BatchReward[Spec, tuple[int, ...]]):
    """A metric of counts that add up over the answers: subclasses give `_metric_of_total`.

    Leaving an answer out is then a subtraction, and exact, since counts are whole numbers.
    """

    @abstractmethod
    def _statistic(self, sample: Sample) -> tuple[int, ...]:
        """The counts of one answer; any exception makes it missing."""

    @abstractmethod
    def _metric_of_total(self, total: Sequence[int]) -> float:
        """The metric of the answers whose counts add up to this."""

    def score(self, samples: Sequence[Sample]) -> list[RewardResult]:
        return self._share_out([attempt(self.path, sample, self._statistic) for sample in samples])

    def _metric(self, statistics: Sequence[tuple[int, ...]]) -> float:
        return self._metric_of_total(_total(statistics))

    def _without_each(self, statistics: Sequence[tuple[int, ...]]) -> list[float]:
        total = _total(statistics)
        known = {
            counts: self._metric_of_total([a - b for a, b in zip(total, counts, strict=True)])
            for counts in set(statistics)
        }
        return [known[counts] for counts in statistics]


class InnerReward(BatchReward[InnerSpec, Statistic]):
    """A metric of the values of another reward: subclasses give `_statistics`.

    Every result keeps the value of that reward as its component `reward`.
    """

    def __init__(
        self, spec: InnerSpec, path: str = "reward", resources: RewardResources | None = None
    ) -> None:
        super().__init__(spec, path, resources)
        self._inner = self.resources.build(spec.reward, f"{path}.reward", self.resources)

    @property
    def component_names(self) -> tuple[str, ...]:
        return ("reward", *(f"reward.{name}" for name in self._inner.component_names))

    @property
    def needs(self) -> frozenset[Need]:
        return self._inner.needs

    def check_row(self, columns: Mapping[str, Any]) -> None:
        self._inner.check_row(columns)

    def costs(self) -> dict[str, dict[str, float | None]]:
        return self._inner.costs()

    def close(self) -> None:
        self._inner.close()

    def score(self, samples: Sequence[Sample]) -> list[RewardResult]:
        inner = self._inner.score(samples)
        results = self._share_out(self._statistics(samples, inner))
        return [
            replace(result, components=_components(value))
            for result, value in zip(results, inner, strict=True)
        ]

    @abstractmethod
    def _statistics(
        self, samples: Sequence[Sample], inner: Sequence[RewardResult]
    ) -> list[Statistic | RewardResult]:
        """For each answer its statistic, or a missing result."""


def _total(statistics: Sequence[tuple[int, ...]]) -> list[int]:
    return [sum(column) for column in zip(*statistics, strict=True)]


def _components(inner: RewardResult) -> dict[str, float]:
    nested = {f"reward.{name}": value for name, value in inner.components.items()}
    return {"reward": inner.value, **nested}
