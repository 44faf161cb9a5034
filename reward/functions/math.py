"""Mathematical equality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from reward.answer.text import ANSWER_MARK, after_mark, is_readable
from reward.base import RewardResult
from reward.child.limits import ChildLimits
from reward.child.process import Program
from reward.child.reward import ChildReward
from reward.column import as_text, read_column, unusable
from reward.extra import require_library
from reward.resources import RewardResources
from reward.sample import Sample
from reward.spec.math import MathSpec


class Math(ChildReward[MathSpec]):
    r"""1 where the answer is mathematically equal to the reference column, else 0.

    The answer is what the completion has in its last `\boxed{}`, together with those that a comma,
    `and` or `or` joins to it (`\boxed{3} and \boxed{7}` is the set of both); failing that what
    follows a `####` in its last line, then `final answer is`, then `answer`, then the last LaTeX,
    expression or number. A completion that is one expression and nothing else is taken whole.
    Units, currencies and a percent sign do not count (`50%` equals both 50 and 0.5), and decimals
    are compared to six places. A completion without an answer scores 0. A reference that cannot be
    read is a fault of the data, and a comparison that takes too long or too much memory has no
    result: the score is missing. The work is done in child processes, which can be killed.

    Source:
        math-verify, https://github.com/huggingface/Math-Verify.
    """

    max_retries = 1

    def __init__(
        self, spec: MathSpec, path: str = "reward", resources: RewardResources | None = None
    ) -> None:
        super().__init__(spec, path, resources)
        require_library("math_verify", "math-verify", path, spec.type)
        self._setting = f"{path}.reference"

    def check_row(self, columns: Mapping[str, Any]) -> None:
        self._reference(columns)

    def score(self, samples: Sequence[Sample]) -> list[RewardResult]:
        return self._score_each(samples, self._item, lambda value: RewardResult(float(value)))

    def _item(self, sample: Sample) -> dict[str, str]:
        return {"reference": self._reference(sample.columns), "completion": sample.completion}

    def _reference(self, row: Mapping[str, Any]) -> str:
        value = read_column(row, self.spec.reference, self._setting)
        text = as_text(value)
        if text is None:
            raise unusable(row, self.spec.reference, self._setting, "neither text nor a number")
        if isinstance(value, float):
            # Without an exponent, whose e is a number in mathematics.
            text = f"{Decimal(text):f}"
        reference = after_mark(text)
        if not is_readable(reference):
            where = f" after {ANSWER_MARK}" if ANSWER_MARK in text else ""
            raise unusable(
                row, self.spec.reference, self._setting, f"without anything mathematical{where}"
            )
        return reference

    def _program(self) -> Program:
        return Program("reward.answer.equivalence", {"boxed_only": self.spec.boxed_only})

    def _limits(self) -> ChildLimits:
        return ChildLimits(
            timeout_s=self.spec.timeout_s,
            cpu_s=self.spec.timeout_s,
            max_processes=0,
            settable=("timeout_s",),
        )
