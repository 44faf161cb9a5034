"""Equality with a reference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reward.base import ItemReward
from reward.column import as_text, read_column, unusable
from reward.sample import Sample
from reward.spec import ExactMatchReward


class ExactMatch(ItemReward[ExactMatchReward]):
    """1 where the completion equals the reference column, else 0.

    A reference may be a string or a number; a number is compared as Python prints it.
    """

    def check_row(self, columns: Mapping[str, Any]) -> None:
        self._reference(columns)

    def _score_item(self, sample: Sample) -> float:
        reference = self._normal(self._reference(sample.columns))
        return float(self._normal(sample.completion) == reference)

    def _reference(self, row: Mapping[str, Any]) -> str:
        column, setting = self.spec.reference, f"{self.path}.reference"
        text = as_text(read_column(row, column, setting))
        if text is None:
            raise unusable(row, column, setting, "neither text nor a number")
        return text

    def _normal(self, text: str) -> str:
        if self.spec.strip:
            text = text.strip()
        return text.casefold() if self.spec.ignore_case else text
