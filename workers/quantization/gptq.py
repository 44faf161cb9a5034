"""GPTQ: round a weight column by column; the columns not yet rounded compensate for the error.

Frantar et al. (2022), arXiv:2210.17323. Columns are inputs. Scales come from the original weights
in their original order (static groups), before the first column is rounded: columns may then be
taken in any order, while every group stays a run of neighbouring inputs, and the checkpoint needs
no g_idx.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import torch

from workers.quantization.rounding import Rounded, spread

DAMPING = 0.01
"""Share of the mean diagonal that is added to the Hessian's diagonal (Section 3.3, Step 3)."""

BLOCK_COLUMNS = 128
"""Columns between two updates of all the columns that follow (Section 3.3, Step 2)."""


class Feedback(NamedTuple):
    """Compensation for the error of one column in the columns after it.

    `upper` (in, in) is the upper Cholesky factor of the inverse of the damped Hessian, with its
    columns in `order` (in,); `damping` is the damping with which the factor exists.
    """

    upper: torch.Tensor
    order: torch.Tensor
    damping: float


def feedback_of(
    hessian: torch.Tensor, damping: float = DAMPING, *, is_ordered: bool = True
) -> Feedback:
    """Factorise the Hessian of a layer's inputs.

    A dead column, an input that was zero on every token, says nothing about the others: it is
    rounded to nearest. If the damped Hessian is numerically singular, damping is raised tenfold
    until it is not. A damping of 1 suffices: the condition number is then at most the width plus 1.

    Args:
        hessian: shape (in, in), float32, finite: 2 X X^T, or any multiple of it.
        damping: in units of the mean diagonal, > 0.
        is_ordered: round the columns with the largest diagonal first, while all others can still
            compensate for their errors.
    """
    import torch

    diagonal = hessian.diagonal()
    width = len(diagonal)
    order = (
        torch.argsort(diagonal, descending=True, stable=True)
        if is_ordered
        else torch.arange(width, device=hessian.device)
    )
    ordered = hessian[order][:, order]
    steps = ordered.diagonal()
    is_dead = steps == 0
    # Rounding depends only on ratios. The Hessian of inputs far from 1 would over- or underflow
    # below, which no damping can mend.
    mean = steps.mean(dtype=torch.float64).item()
    ordered /= mean or 1.0
    ordered.diagonal()[is_dead] = 1.0
    while True:
        damped = ordered.clone()
        damped.diagonal().add_(damping)
        upper = _inverse_factor(damped)
        if upper is not None:
            return Feedback(upper, order, damping)
        damping *= 10


def round_gptq(
    weight: torch.Tensor, scale: torch.Tensor, feedback: Feedback, limits: tuple[int, int]
) -> Rounded:
    """Round a weight (Algorithm 1).

    Args:
        weight: shape (out, in), float32; not modified.
        scale: shape (out, groups), float32, as the checkpoint will hold it.
        feedback: factor of the Hessian of this layer's inputs.
        limits: smallest and largest integer.
    """
    import torch

    width = weight.shape[1]
    steps = spread(scale, width)[:, feedback.order]
    rest = weight[:, feedback.order]
    upper = feedback.upper
    chosen = torch.empty_like(rest)
    for start in range(0, width, BLOCK_COLUMNS):
        end = min(start + BLOCK_COLUMNS, width)
        block = rest[:, start:end].contiguous()
        errors = torch.empty_like(block)
        for column in range(end - start):
            at = start + column
            step = steps[:, at]
            integers = torch.clamp(torch.round(block[:, column] / step), *limits)
            error = (block[:, column] - integers * step) / upper[at, at]
            block[:, column:].addr_(error, upper[at, at:end], alpha=-1)
            chosen[:, at] = integers
            errors[:, column] = error
        rest[:, end:].addmm_(errors, upper[start:end, end:], alpha=-1)
    integers = torch.empty_like(chosen)
    integers[:, feedback.order] = chosen
    return Rounded(integers.to(torch.int8), scale)


def _inverse_factor(matrix: torch.Tensor) -> torch.Tensor | None:
    """Return the upper Cholesky factor of the inverse; None if `matrix` is numerically singular."""
    import torch

    lower, fault = torch.linalg.cholesky_ex(matrix)
    if fault.item():
        return None
    upper, fault = torch.linalg.cholesky_ex(torch.cholesky_inverse(lower), upper=True)
    if fault.item() or not torch.isfinite(upper).all():
        return None
    return upper
