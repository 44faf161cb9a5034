"""Equality of numbers."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from reward.base import ItemReward
from reward.column import as_text, read_column, unusable
from reward.errors import RewardParseError
from reward.numeral import difference, last_number
from reward.resources import RewardResources
from reward.sample import Sample
from reward.spec import NumericMatchReward

ANSWER_MARK = "####"
"""Stands before the final answer in GSM8K (Cobbe et al. 2021, arXiv:2110.14168)."""


class NumericMatch(ItemReward[NumericMatchReward]):
    """1 where the last number of the completion equals that of the reference column, else 0.

    A completion without a number scores 0: the model gave no answer. A reference without one is
    a fault of the data: the score is missing. In a reference, only what follows its last `####`
    counts. `reward.numeral.last_number` states how numbers are read.
    """

    def __init__(
        self,
        spec: NumericMatchReward,
        path: str = "reward",
        resources: RewardResources | None = None,
    ) -> None:
        super().__init__(spec, path, resources)
        self._column = spec.reference
        self._setting = f"{path}.reference"
        self._tolerance = Decimal(str(spec.tolerance))

    def check_row(self, columns: Mapping[str, Any]) -> None:
        self._reference(columns)

    def _score_item(self, sample: Sample) -> float:
        reference = self._reference(sample.columns)
        try:
            answer = last_number(sample.completion)
        except RewardParseError:
            return 0.0
        return float(difference(answer, reference) <= self._tolerance)

    def _reference(self, row: Mapping[str, Any]) -> Decimal:
        text = as_text(read_column(row, self._column, self._setting))
        if text is None:
            raise unusable(row, self._column, self._setting, "neither text nor a number")
        try:
            return last_number(text.rpartition(ANSWER_MARK)[2])
        except RewardParseError as error:
            where = f" after {ANSWER_MARK}" if ANSWER_MARK in text else ""
            problem = f"without a number{where}"
            raise unusable(row, self._column, self._setting, problem) from error
