"""A percentile of another reward."""

from __future__ import annotations

from collections.abc import Sequence

from reward.base import RewardResult
from reward.batch import InnerReward
from reward.metrics import percentile_of, percentile_without_each
from reward.sample import Sample
from reward.spec import PercentileReward


class Percentile(InnerReward[PercentileReward, float]):
    """The q-th percentile of the values that `reward` gives the answers of the batch.

    Not smooth: only answers at the percentile move it, so fitness is exact but noisy, and intervals
    from its shares are rough (`reward/metrics.py`). Large batches help.
    """

    def _statistics(
        self, samples: Sequence[Sample], inner: Sequence[RewardResult]
    ) -> list[float | RewardResult]:
        return [result if result.missing else result.value for result in inner]

    def _metric(self, statistics: Sequence[float]) -> float:
        return percentile_of(statistics, self.spec.q)

    def _without_each(self, statistics: Sequence[float]) -> list[float]:
        return percentile_without_each(statistics, self.spec.q)
