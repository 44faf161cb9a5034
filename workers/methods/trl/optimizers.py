"""Optimisers by name, from torch, bitsandbytes and pytorch-optimizer, and our own APOLLO."""

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
    "apollo": ("workers.methods.trl.apollo", "Apollo", "torch"),
    "apollo_mini": ("workers.methods.trl.apollo", "Apollo", "torch"),
}
_SETTINGS: dict[str, dict[str, Any]] = {"apollo_mini": {"rank": 1, "is_tensor_wise": True}}


def make_optimizer(
    name: str,
    parameters: Sequence[torch.nn.Parameter],
    *,
    learning_rate: float,
    weight_decay: float,
) -> torch.optim.Optimizer:
    """Build the optimiser of a job.

    Raises:
        SpecError: the optimiser's library is missing.
    """
    module, class_name, package = _PLACES[name]
    try:
        kind = getattr(importlib.import_module(module), class_name)
    except ImportError as error:
        raise SpecError(
            f"method.optimizer is {name}, which needs {package}; install the extra `baseline`",
            field="method.optimizer",
        ) from error
    return kind(
        list(parameters), lr=learning_rate, weight_decay=weight_decay, **_SETTINGS.get(name, {})
    )
