"""APOLLO: Adam's step sizes per channel or per tensor, from gradients projected to a low rank.

This is our own implementation, because that of pytorch-optimizer 4.1.0 also projects the update, as
GaLore does, and applies the scale twice; without a rank it is AdamW.

Source:
    Zhu et al. (2024), APOLLO: SGD-like Memory, AdamW-level Performance, arXiv:2412.05270,
    Algorithm 1 and Section 4.2.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch

GROWTH = 1.01
"""Maximum ratio of an update's norm to that of the previous update: the paper's gamma."""


class Apollo(torch.optim.Optimizer):
    """Scales raw gradients by Adam's scaling of their projection.

    Parameters that are not matrices are updated by Adam. The state holds only tensors and numbers:
    projections are redrawn from the numbers of the parameter and the period.

    Args:
        rank: rank of the projection of a matrix's shorter side; None projects nothing.
        is_tensor_wise: use one step size per matrix (APOLLO-Mini) instead of one per channel along
            its longer side.
        period: number of steps between new projections, the paper's T.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        *,
        weight_decay: float = 0.0,
        rank: int | None = None,
        is_tensor_wise: bool = False,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        period: int = 200,
    ) -> None:
        defaults = {
            "lr": lr,
            "weight_decay": weight_decay,
            "rank": rank,
            "is_tensor_wise": is_tensor_wise,
            "betas": betas,
            "eps": eps,
            "period": period,
        }
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Make one update. `closure`, as in torch, recomputes and returns the loss."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for number, parameter in enumerate(group["params"]):
                if parameter.grad is not None:
                    self._move(parameter, parameter.grad, group, number)
        return loss

    def _move(
        self,
        parameter: torch.Tensor,
        gradient: torch.Tensor,
        group: dict[str, Any],
        number: int,
    ) -> None:
        state = self.state[parameter]
        state["step"] = state.get("step", 0) + 1
        if parameter.dim() == 2:
            is_tall = parameter.shape[0] > parameter.shape[1]
            update = self._scaled(gradient.T if is_tall else gradient, state, group, number)
            update = update.T if is_tall else update
        else:
            update = self._adam(gradient, state, group)
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.add_(update, alpha=-group["lr"])

    def _scaled(
        self, gradient: torch.Tensor, state: dict[str, Any], group: dict[str, Any], number: int
    ) -> torch.Tensor:
        """Return the update of a matrix whose rows are its shorter side, shape as `gradient`."""
        low, share = gradient, 1.0
        if group["rank"] is not None:
            period = (state["step"] - 1) // group["period"]
            low = _projection(gradient, group["rank"], seed=10_007 * period + number) @ gradient
            # Projection shrinks norms by the square root of the share of dimensions that it keeps.
            share = group["rank"] / len(gradient)
        adapted = self._adam(low, state, group)
        side = None if group["is_tensor_wise"] else 0
        size = torch.linalg.vector_norm(low, dim=side) + group["eps"]
        update = gradient * (torch.linalg.vector_norm(adapted, dim=side) / size / math.sqrt(share))
        norm = torch.linalg.vector_norm(update)
        if "norm" in state:
            limit = GROWTH * state["norm"]
            # After zero gradients there is no norm that could limit growth.
            update = update * torch.where((limit > 0) & (norm > limit), limit / norm, 1.0)
            norm = torch.linalg.vector_norm(update)
        state["norm"] = norm
        return update

    def _adam(
        self, gradient: torch.Tensor, state: dict[str, Any], group: dict[str, Any]
    ) -> torch.Tensor:
        first, second = group["betas"]
        if "mean" not in state:
            state["mean"], state["square"] = torch.zeros_like(gradient), torch.zeros_like(gradient)
        state["mean"].lerp_(gradient, 1 - first)
        state["square"].mul_(second).addcmul_(gradient, gradient, value=1 - second)
        mean = state["mean"] / (1 - first ** state["step"])
        square = state["square"] / (1 - second ** state["step"])
        return mean / (square.sqrt() + group["eps"])


def _projection(gradient: torch.Tensor, rank: int, *, seed: int) -> torch.Tensor:
    """Draw a projection of shape (rank, rows), normal of variance 1 / rank, device-independent."""
    drawn = torch.randn((rank, len(gradient)), generator=torch.Generator().manual_seed(seed))
    return (drawn / math.sqrt(rank)).to(gradient)
