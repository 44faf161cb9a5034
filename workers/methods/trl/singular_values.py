"""Leave of an adapter's factors only their singular values to be trained (SVD-GRPO)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.nn.utils import parametrize


class _Rebuild(torch.nn.Module):
    """The factor as a function of its singular values: U diag(s) V^T, U and V^T fixed."""

    left: torch.Tensor
    right: torch.Tensor

    def __init__(self, left: torch.Tensor, right: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("left", left)
        self.register_buffer("right", right)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Values (k,) to the factor, (rows, columns)."""
        return (self.left * values) @ self.right

    def right_inverse(self, weight: torch.Tensor) -> torch.Tensor:
        """The factor that it is built over to its values."""
        return torch.einsum("rk,rc,kc->k", self.left, weight, self.right)


def train_singular_values(model: Any) -> None:
    """Put a thin SVD in the place of every factor of the adapter that is trained.

    Source:
        ESSA, arXiv:2507.04453, Section 4.4.5, the control SVD-GRPO.
    """
    for linear in adapter_layers(model):
        with torch.no_grad():
            left, _, right = torch.linalg.svd(linear.weight.float(), full_matrices=False)
        parametrize.register_parametrization(linear, "weight", _Rebuild(left, right))


def adapter_layers(model: Any) -> Iterator[torch.nn.Linear]:
    """The linear layers of the adapter that is trained, A and B of each module in turn."""
    for _, lora_A, lora_B in adapter_modules(model):
        yield lora_A
        yield lora_B


def adapter_modules(model: Any) -> Iterator[tuple[str, torch.nn.Linear, torch.nn.Linear]]:
    """Name in the base model, A and B of every adapted module."""
    for name, module in model.named_modules():
        if hasattr(module, "lora_A") and "default" in module.lora_A:
            plain = name.removeprefix("module.").removeprefix("base_model.model.")
            yield plain, module.lora_A["default"], module.lora_B["default"]
