"""Equality with a reference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reward.base import ItemReward
from reward.column import as_text, read_column, unusable
from reward.spec import ExactMatchReward


class ExactMatch(ItemReward):
    """1 where the completion equals the reference column, else 0.

    A reference may be a string or a number; a number is compared as Python prints it.
    """

    def __init__(self, spec: ExactMatchReward, path: str = "reward") -> None:
        super().__init__(path)
        self._spec = spec

    def check_row(self, columns: Mapping[str, Any]) -> None:
        self._reference(columns)

    def _score_item(self, completion: str, row: Mapping[str, Any]) -> float:
        return float(self._normal(completion) == self._normal(self._reference(row)))

    def _reference(self, row: Mapping[str, Any]) -> str:
        column, setting = self._spec.reference, f"{self.path}.reference"
        text = as_text(read_column(row, column, setting))
        if text is None:
            raise unusable(row, column, setting, "neither text nor a number")
        return text

    def _normal(self, text: str) -> str:
        if self._spec.strip:
            text = text.strip()
        return text.casefold() if self._spec.ignore_case else text
