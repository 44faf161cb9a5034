"""Words that the completion should contain."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from reward.base import ItemReward
from reward.column import as_text, read_column, unusable
from reward.sample import Sample
from reward.spec import KeywordsReward


class Keywords(ItemReward[KeywordsReward]):
    """How many of the keywords the completion contains, as whole words.

    A keyword may be a phrase; any white space between its words matches. Fixed keywords and those
    of the row's column are taken together, a repeated one counts once.
    """

    def check_row(self, columns: Mapping[str, Any]) -> None:
        self._wanted(columns)

    def _score_item(self, sample: Sample) -> float:
        text, wanted = self._normal(sample.completion), self._wanted(sample.columns)
        found = [_pattern(keyword).search(text) is not None for keyword in wanted]
        if self.spec.require == "any":
            return float(any(found))
        if self.spec.require == "all":
            return float(all(found))
        return sum(found) / len(found)

    def _wanted(self, row: Mapping[str, Any]) -> list[str]:
        keywords = [*self.spec.keywords, *self._from_column(row)]
        normal = [" ".join(self._normal(keyword).split()) for keyword in keywords]
        return list(dict.fromkeys(normal))

    def _from_column(self, row: Mapping[str, Any]) -> list[str]:
        column, setting = self.spec.column, f"{self.path}.column"
        if column is None:
            return []
        value = read_column(row, column, setting)
        texts = [as_text(part) for part in (value if isinstance(value, list | tuple) else [value])]
        usable = [text for text in texts if text is not None and text.strip()]
        if len(usable) < len(texts):
            raise unusable(row, column, setting, "not a keyword or a list of keywords")
        if not usable and not self.spec.keywords:
            raise unusable(row, column, setting, f"empty, and {self.path}.keywords is too")
        return usable

    def _normal(self, text: str) -> str:
        # Models write both apostrophes.
        text = text.replace("’", "'")
        return text.casefold() if self.spec.ignore_case else text


@lru_cache(maxsize=4096)
def _pattern(keyword: str) -> re.Pattern[str]:
    words = r"\s+".join(re.escape(word) for word in keyword.split())
    # Not \b: it would never match beside a keyword's own punctuation, as in "C++".
    return re.compile(rf"(?<!\w){words}(?!\w)")
