"""CPU kernels of vLLM, faster and steadier, through its own extension points.

Without torch.compile, which vLLM switches off on CPU where adapters are on, it runs these as a
dozen torch operations. Its library has C++ kernels for the norms; registered here as another
implementation of vLLM's IR operations, they are chosen by `ir_op_priority` of `vllm_settings`. The
activation re-uses one buffer instead of filling three.

oneDNN sums a bf16 product of one row in another order than one of several, so a sequence that is
left alone in its batch would go on differently than in company. Two rows are always enough.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from vllm import ir
from vllm.model_executor.layers.activation import SiluAndMul

from workers.engines.vllm_settings import CPU_KERNELS


def install_cpu_kernels() -> None:
    """Register the kernels in this process. Idempotent."""
    if CPU_KERNELS in ir.ops.rms_norm.impls:
        return
    ir.ops.rms_norm.register_impl(CPU_KERNELS, supports_args=_norm_fits)(_rms_norm)
    ir.ops.fused_add_rms_norm.register_impl(
        CPU_KERNELS, supports_args=_added_norm_fits, inplace=True
    )(_fused_add_rms_norm)
    SiluAndMul.register_oot(_SiluAndMul)


def steady_linear_layers(model: nn.Module) -> None:
    """Let no unquantised linear layer of the model work on a single row."""
    for module in model.modules():
        linear = getattr(module, "cpu_linear", None)
        if linear is not None:
            module.cpu_linear = _at_least_two_rows(linear)


def _at_least_two_rows(linear: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    def steady(x: torch.Tensor, *arguments: Any) -> torch.Tensor:
        if x.ndim != 2 or len(x) != 1:
            return linear(x, *arguments)
        return linear(x.repeat(2, 1), *arguments)[:1]

    return steady


def _norm_fits(
    x: torch.Tensor,
    weight: torch.Tensor | None,
    epsilon: float,
    variance_size: int | None = None,
) -> bool:
    return (
        variance_size is None
        and weight is not None
        and weight.dtype == x.dtype
        and x.is_contiguous()
    )


def _rms_norm(
    x: torch.Tensor,
    weight: torch.Tensor | None,
    epsilon: float,
    variance_size: int | None = None,
) -> torch.Tensor:
    output = torch.empty_like(x)
    torch.ops._C.rms_norm(output, x, weight, epsilon)
    return output


def _added_norm_fits(
    x: torch.Tensor,
    x_residual: torch.Tensor,
    weight: torch.Tensor | None,
    epsilon: float,
    variance_size: int | None = None,
) -> bool:
    return _norm_fits(x, weight, epsilon, variance_size) and x_residual.is_contiguous()


def _fused_add_rms_norm(
    x: torch.Tensor,
    x_residual: torch.Tensor,
    weight: torch.Tensor | None,
    epsilon: float,
    variance_size: int | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    torch.ops._C.fused_add_rms_norm(x, x_residual, weight, epsilon)
    return x, x_residual


class _SiluAndMul(SiluAndMul):
    def forward_cpu(self, x: torch.Tensor) -> torch.Tensor:
        half = x.shape[-1] // 2
        return F.silu(x[..., :half]).mul_(x[..., half:])
