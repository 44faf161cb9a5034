"""Batch metrics behind the reward port: every answer carries its share of the metric.

`reward/metrics.py` defines the shares. Their mean is the metric, so that fitness and everything
else that averages over prompts works as for any reward. A single share is not a score of its
answer: it may lie outside the range of the metric.
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
    """A metric over the answers of a batch: subclasses implement `_metric` of one statistic each.

    An answer without a statistic (not text, no usable reference) is missing, and the metric is
    computed from the others. A single usable answer has the metric as its value. If the metric of
    the batch cannot be computed, every answer is missing.
    """

    @property
    def is_batch(self) -> bool:
        return True

    @abstractmethod
    def _metric(self, statistics: Sequence[Statistic]) -> float:
        """Return the metric of one or more answers; it must not depend on their order."""

    def _without_each(self, statistics: Sequence[Statistic]) -> list[float]:
        """Return the metric without each of two or more answers; equal ones are computed once."""
        known: dict[Statistic, float] = {}
        for index, statistic in enumerate(statistics):
            if statistic not in known:
                known[statistic] = self._metric([*statistics[:index], *statistics[index + 1 :]])
        return [known[statistic] for statistic in statistics]

    def _shares(self, statistics: Sequence[Statistic]) -> list[float]:
        """Return the share of each answer; the mean of the shares is the metric."""
        if len(statistics) < 2:
            return [self._metric([statistic]) for statistic in statistics]
        return shares_of(self._metric(statistics), self._without_each(statistics))

    def _share_out(self, statistics: Sequence[Statistic | RewardResult]) -> list[RewardResult]:
        """Turn statistics into results; an entry that is already a (missing) result is kept."""
        usable = [entry for entry in statistics if not isinstance(entry, RewardResult)]
        try:
            results = [RewardResult(share) for share in self._shares(usable)]
        # The batch is the smallest unit of a metric, and the job must go on without this batch.
        except Exception as error:
            message = f"{self.path}: the batch has no value: {type(error).__name__}: {error}"
            results = [RewardResult(NaN, error=message)] * len(usable)
        rest = iter(results)
        return [entry if isinstance(entry, RewardResult) else next(rest) for entry in statistics]


class SummedReward(BatchReward[Spec, tuple[int, ...]]):
    """A metric of counts summed over the answers: subclasses implement `_metric_of_total`.

    Leaving an answer out is then an exact subtraction, since counts are whole numbers.
    """

    @abstractmethod
    def _statistic(self, sample: Sample) -> tuple[int, ...]:
        """Return the counts of one answer; any exception makes the answer missing."""

    @abstractmethod
    def _metric_of_total(self, total: Sequence[int]) -> float:
        """Return the metric of answers whose counts add up to `total`."""

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
    """A metric of the values of another reward: subclasses implement `_statistics`.

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
        """Return the statistic of each answer, or a missing result."""


def _total(statistics: Sequence[tuple[int, ...]]) -> list[int]:
    return [sum(column) for column in zip(*statistics, strict=True)]


def _components(inner: RewardResult) -> dict[str, float]:
    nested = {f"reward.{name}": value for name, value in inner.components.items()}
    return {"reward": inner.value, **nested}
