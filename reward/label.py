"""Labels read from completions, counted by class."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from reward.batch import SummedReward
from reward.column import as_text, read_column, unusable
from reward.metrics import LabelCount
from reward.resources import RewardResources
from reward.sample import Sample
from reward.spec.batch import LabelMetric

LabelSpec = TypeVar("LabelSpec", bound=LabelMetric)


class LabelReward(SummedReward[LabelSpec]):
    """A metric of how often each label was given rightly and wrongly.

    The completion's label is the first or last of `labels` that stands in it as a whole word or
    phrase, read from left to right; where two begin at one place, the longer. A completion without
    any label counts as a miss of the right one. The reference must be one of the labels as a whole.
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
        """The metric of the counts of every class, in the order of `labels`."""

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
