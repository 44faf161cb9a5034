"""Restrict training to the singular values of an adapter's factors (SVD-GRPO)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.nn.utils import parametrize


class _Rebuild(torch.nn.Module):
    """A factor as a function of its singular values: U diag(s) V^T with fixed U and V^T."""

    left: torch.Tensor
    right: torch.Tensor

    def __init__(self, left: torch.Tensor, right: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("left", left)
        self.register_buffer("right", right)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Return the factor, shape (rows, columns), for singular values of shape (k,)."""
        return (self.left * values) @ self.right

    def right_inverse(self, weight: torch.Tensor) -> torch.Tensor:
        """Return the singular values, shape (k,), of a factor of shape (rows, columns)."""
        return torch.einsum("rk,rc,kc->k", self.left, weight, self.right)


def train_singular_values(model: Any) -> None:
    """Replace every factor of the trained adapter by its thin SVD.

    Source:
        ESSA, arXiv:2507.04453, Section 4.4.5, the control SVD-GRPO.
    """
    for linear in adapter_layers(model):
        with torch.no_grad():
            left, _, right = torch.linalg.svd(linear.weight.float(), full_matrices=False)
        parametrize.register_parametrization(linear, "weight", _Rebuild(left, right))


def adapter_layers(model: Any) -> Iterator[torch.nn.Linear]:
    """Yield the linear layers of the trained adapter: A and B of one module after the other."""
    for _, lora_A, lora_B in adapter_modules(model):
        yield lora_A
        yield lora_B


def adapter_modules(model: Any) -> Iterator[tuple[str, torch.nn.Linear, torch.nn.Linear]]:
    """Yield the name in the base model, A and B of every adapted module."""
    for name, module in model.named_modules():
        if hasattr(module, "lora_A") and "default" in module.lora_A:
            plain = name.removeprefix("module.").removeprefix("base_model.model.")
            yield plain, module.lora_A["default"], module.lora_B["default"]
