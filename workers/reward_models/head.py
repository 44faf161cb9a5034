"""The choice of the model output that is the score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from reward.errors import RewardConfigError


@dataclass(frozen=True)
class Head:
    """One column of one field of a model's output."""

    field: str
    column: int

    def of(self, output: Any) -> list[float]:
        """Return the scores of a batch, B numbers."""
        return _columns(output, self.field)[:, self.column].float().tolist()


def find_head(output: Any, labels: Mapping[int, str], wanted: int | str | None) -> Head:
    """Find the output that a specification asks for.

    Args:
        output: the model's answer to any batch: `logits` (B, H), or with `rewards` (B, H) and a
            `score` (B) that sums them up, as ArmoRM gives (arXiv:2406.12845).
        labels: the model's `id2label`.
        wanted: index or label; None for a model with a single output.
    Raises:
        RewardConfigError: there is no such output, or there are several and none is named.
    """
    if wanted is None and getattr(output, "score", None) is not None:
        return Head("score", 0)
    field = "rewards" if getattr(output, "rewards", None) is not None else "logits"
    count = _columns(output, field).shape[1]
    names = [labels.get(index, str(index)) for index in range(count)]
    if wanted is None and count == 1:
        return Head(field, 0)
    if isinstance(wanted, int) and wanted < count:
        return Head(field, wanted)
    if isinstance(wanted, str) and names.count(wanted) == 1:
        return Head(field, names.index(wanted))
    listed = ", ".join(f"{index} {name!r}" for index, name in enumerate(names))
    problem = "is not given" if wanted is None else f"is {wanted!r}"
    raise RewardConfigError(
        f"`head` {problem}, but the model has the outputs {listed}; set `head` to the index or "
        "the name of one of them",
        field="head",
    )


def _columns(output: Any, field: str) -> torch.Tensor:
    """Return a field with shape (B, H); a field of shape (B) becomes one column."""
    values = getattr(output, field)
    return values if values.dim() == 2 else values.reshape(-1, 1)
