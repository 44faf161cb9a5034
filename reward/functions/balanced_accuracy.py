"""Accuracy that gives every class the same weight."""

from __future__ import annotations

from collections.abc import Sequence

from reward.label import LabelReward
from reward.metrics import LabelCount, balanced_accuracy_of
from reward.spec import BalancedAccuracyReward


class BalancedAccuracy(LabelReward[BalancedAccuracyReward]):
    """Mean recall over the classes that occur among the references of the batch.

    `reward.label.LabelReward` says how labels are read.

    Source:
        Brodersen et al. (2010), The balanced accuracy and its posterior distribution, ICPR.
    """

    def _of_counts(self, counts: Sequence[LabelCount]) -> float:
        return balanced_accuracy_of(counts)
