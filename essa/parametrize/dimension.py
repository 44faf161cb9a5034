"""Number of searched values, computed without any weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

from essa.errors import AdapterError, SpecError

Target = Literal["factors", "product"]
"""Searched singular values: those of A and of B (`factors`), or those of B @ A (`product`)."""


def check_target(target: str) -> Target:
    """Return `target` if it is a valid one, else raise SpecError."""
    if target not in get_args(Target):
        raise SpecError(
            f"search.target is {target!r}; expected one of {', '.join(get_args(Target))}",
            field="search.target",
        )
    return target  # type: ignore[return-value]


def selected_count(alpha: float, rank: int) -> int:
    """Return the number of singular values searched per factor, the largest: floor(alpha * rank).

    Raises:
        AdapterError: the number is 0, or alpha is outside (0, 1].
    Source:
        ESSA, arXiv:2507.04453, Algorithm 1.
    """
    if not 0 < alpha <= 1:
        raise AdapterError(f"search.alpha is {alpha}; expected a fraction above 0, at most 1")
    # 0.7 * 10 is 6.999...; the margin is far smaller than the spacing 1 / rank of exact fractions.
    count = math.floor(alpha * rank + 1e-9)
    if count == 0:
        smallest = math.ceil(1e4 / rank) / 1e4
        raise AdapterError(
            f"search.alpha {alpha} of rank {rank} selects no singular value "
            f"(floor({alpha * rank:g}) = 0); raise search.alpha to at least {smallest:g} "
            "or use a larger lora.rank",
            alpha=alpha,
            rank=rank,
        )
    return count


def search_dimension(
    layers: int, rank: int, target_modules: Sequence[str], *, alpha: float, target: str
) -> int:
    """Return the search dimension D of a LoRA adapter.

    Args:
        layers: number of decoder layers of the model.
        rank: LoRA rank, the same for all modules.
        target_modules: linear layers adapted in every decoder layer.
        alpha: fraction of singular values that are searched.
        target: `factors` or `product`.
    Raises:
        AdapterError: no singular value is selected.
    Source:
        ESSA, arXiv:2507.04453, Figure 1: layers * matrices per layer * 2 * floor(alpha * r).
    """
    factors = 2 if check_target(target) == "factors" else 1
    return layers * len(set(target_modules)) * factors * selected_count(alpha, rank)
