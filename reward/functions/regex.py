"""A pattern in the completion."""

from __future__ import annotations

import regex

from reward.base import ItemReward
from reward.errors import RewardTimeoutError
from reward.resources import RewardResources
from reward.sample import Sample
from reward.spec import RegexReward


class Regex(ItemReward[RegexReward]):
    """1 where the pattern is found, else 0. The syntax is that of the `regex` package.

    `timeout_s` bounds each match, because a pattern that backtracks exponentially would otherwise
    hold up the whole generation.
    """

    def __init__(
        self, spec: RegexReward, path: str = "reward", resources: RewardResources | None = None
    ) -> None:
        super().__init__(spec, path, resources)
        pattern = regex.compile(spec.pattern, regex.IGNORECASE if spec.ignore_case else 0)
        self._find = pattern.fullmatch if spec.full_match else pattern.search
        self._timeout_s = spec.timeout_s

    def _score_item(self, sample: Sample) -> float:
        try:
            return float(self._find(sample.completion, timeout=self._timeout_s) is not None)
        except TimeoutError as error:
            raise RewardTimeoutError(
                f"{self.path}.pattern gave no answer within {self._timeout_s} s; simplify it "
                f"or raise {self.path}.timeout_s",
                field=f"{self.path}.timeout_s",
            ) from error
