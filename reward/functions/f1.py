"""F1 of labels."""

from __future__ import annotations

from collections.abc import Sequence

from reward.label import LabelReward
from reward.metrics import LabelCount, f1_of, macro_f1_of
from reward.resources import RewardResources
from reward.spec import F1Reward


class F1(LabelReward[F1Reward]):
    """F1 of the labels read from the completions against the reference column, over the batch.

    2 * hits / (2 * hits + false alarms + misses), 0 where there is no hit. `binary` counts for the
    label `positive`, `micro` for all labels together; `macro` is the mean over the labels that
    occur among the references of the batch. `reward.label.LabelReward` says how labels are read.
    """

    def __init__(
        self, spec: F1Reward, path: str = "reward", resources: RewardResources | None = None
    ) -> None:
        super().__init__(spec, path, resources)
        positive = spec.positive
        self._positive = None if positive is None else self._classes[spec.normal(positive)]

    def _of_counts(self, counts: Sequence[LabelCount]) -> float:
        if self._positive is not None:
            return f1_of([counts[self._positive]])
        return macro_f1_of(counts) if self.spec.average == "macro" else f1_of(counts)
