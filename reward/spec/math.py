"""The specification of the reward for mathematical answers."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from reward.spec.model import RewardSpecModel


class MathSpec(RewardSpecModel):
    r"""1 if the answer is mathematically equal to the reference column, else 0.

    Reads numbers, expressions, equations, sets, intervals and matrices, in LaTeX or plain, with the
    library math-verify: `0.5` equals `\frac{1}{2}`, and `(x+1)^2` equals `x^2 + 2x + 1`.
    """

    type: Literal["math"] = "math"
    reference: str = Field(default="answer", min_length=1)
    """Column of the row that holds the reference: a number, LaTeX or a plain expression. If the
    text has a `####`, as in GSM8K, only the text after it counts."""
    boxed_only: bool = False
    r"""Accept only an answer in `\boxed{}`. By default an answer without a box is the text after
    `####` in the last line, after `final answer is` or after `answer`, or else the last expression
    or number."""
    timeout_s: float = Field(default=5.0, gt=0, allow_inf_nan=False)
    """Longest time for a comparison; if it takes longer, the score is missing."""
