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
    r"""1 if the answer is mathematically equal to the reference column, else 0.

    The answer is the content of the completion's last `\boxed{}`, together with boxes that a comma,
    `and` or `or` joins to it (`\boxed{3} and \boxed{7}` is the set of both). Without a box it is
    the text after `####` in the last line, after `final answer is` or after `answer`, in this
    order, or else the last LaTeX, expression or number. A completion that is a single expression is
    taken whole. Units, currencies and percent signs do not count (`50%` equals both 50 and 0.5),
    and decimals are compared to six places. A completion without an answer scores 0. The score is
    missing if the reference cannot be read, or if the comparison takes too long or too much memory.
    The work is done in child processes, which can be killed.

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
            # Without an exponent: its e would be read as Euler's number.
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
