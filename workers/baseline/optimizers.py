"""Optimisers by name, from torch, bitsandbytes and pytorch-optimizer."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from essa.errors import SpecError

if TYPE_CHECKING:
    import torch

_PLACES: dict[str, tuple[str, str, str]] = {
    "adamw": ("torch.optim", "AdamW", "torch"),
    "sgd": ("torch.optim", "SGD", "torch"),
    "adamw_8bit": ("bitsandbytes.optim", "AdamW8bit", "bitsandbytes"),
    "paged_adamw_8bit": ("bitsandbytes.optim", "PagedAdamW8bit", "bitsandbytes"),
    "lion_8bit": ("bitsandbytes.optim", "Lion8bit", "bitsandbytes"),
    "lion": ("pytorch_optimizer", "Lion", "pytorch-optimizer"),
    "adamp": ("pytorch_optimizer", "AdamP", "pytorch-optimizer"),
    "exadam": ("pytorch_optimizer", "EXAdam", "pytorch-optimizer"),
    "apollo": ("pytorch_optimizer", "APOLLO", "pytorch-optimizer"),
    "apollo_mini": ("pytorch_optimizer", "APOLLO", "pytorch-optimizer"),
}
# Rank 1 and its scale, as in the paper of APOLLO (arXiv:2412.05270).
_APOLLO_MINI = {"rank": 1, "scale": 128.0, "update_proj_gap": 200, "projection_type": "std"}


def make_optimizer(
    name: str,
    parameters: Sequence[torch.nn.Parameter],
    *,
    learning_rate: float,
    weight_decay: float,
) -> torch.optim.Optimizer:
    """Build the optimiser of a job.

    Raises:
        SpecError: its library is missing.
    """
    module, class_name, package = _PLACES[name]
    try:
        kind = getattr(importlib.import_module(module), class_name)
    except ImportError as error:
        raise SpecError(
            f"method.optimizer is {name}, which needs {package}; install the extra `baseline`",
            field="method.optimizer",
        ) from error
    group: dict[str, Any] = {"params": list(parameters)}
    if name == "apollo_mini":
        group |= _APOLLO_MINI
        _let_checkpoints_hold_projectors()
    return kind([group], lr=learning_rate, weight_decay=weight_decay)


def _let_checkpoints_hold_projectors() -> None:
    """A projector is part of the optimiser's state, and torch reads only classes it is told of."""
    import torch
    from pytorch_optimizer.optimizer.utils.galore import GaLoreProjector

    torch.serialization.add_safe_globals([GaLoreProjector])
