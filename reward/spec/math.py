"""The specification of the reward for mathematical answers."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from reward.spec.model import RewardSpecModel


class MathSpec(RewardSpecModel):
    r"""1 where the answer is mathematically equal to the reference column, else 0.

    Reads numbers, expressions, equations, sets, intervals and matrices, in LaTeX or plain, with the
    library math-verify: `0.5` equals `\frac{1}{2}`, and `(x+1)^2` equals `x^2 + 2x + 1`.
    """

    type: Literal["math"] = "math"
    reference: str = Field(default="answer", min_length=1)
    """Column of the row that holds the reference: a number, LaTeX or a plain expression. Where the
    text has a `####`, as in GSM8K, only what follows it counts."""
    boxed_only: bool = False
    r"""Count only what the completion has in `\boxed{}`. Otherwise also what follows a `####` in
    its last line, `final answer is` and `answer`, and failing these the last expression or number
    in the text."""
    timeout_s: float = Field(default=5.0, gt=0, allow_inf_nan=False)
    """A comparison that takes longer is a missing score."""
