"""Faster and batch-invariant CPU kernels for vLLM, through its own extension points.

With adapters on CPU, vLLM switches torch.compile off and runs norms and activations as a dozen
torch operations. Its library has C++ kernels for the norms; this module registers them as another
implementation of vLLM's IR operations, which `ir_op_priority` of `vllm_settings` selects. The
activation reuses one buffer instead of filling three.

A product of few rows is summed in another order than one of many, so a sequence left alone in its
batch would continue differently than with neighbours. Products are therefore padded to enough rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from vllm import ir
from vllm.model_executor.kernels.linear.scaled_mm import cpu as scaled_mm_cpu
from vllm.model_executor.layers.activation import SiluAndMul

from workers.engines.vllm_settings import CPU_KERNELS

STEADY_ROWS = 4
"""Rows from which on MKL and oneDNN sum float32 products in one order (measured)."""
STEADY_ROWS_BF16 = 2
"""Rows from which on oneDNN does so in bf16, with AVX-512."""
STEADY_ROWS_AMX = 40
"""Rows from which on oneDNN and vLLM do so in bf16 on AMX: up to 36 they did not (measured)."""


def install_cpu_kernels() -> None:
    """Register the kernels in this process. Idempotent."""
    if CPU_KERNELS in ir.ops.rms_norm.impls:
        return
    ir.ops.rms_norm.register_impl(CPU_KERNELS, supports_args=_norm_fits)(_rms_norm)
    ir.ops.fused_add_rms_norm.register_impl(
        CPU_KERNELS, supports_args=_added_norm_fits, inplace=True
    )(_fused_add_rms_norm)
    SiluAndMul.register_oot(_SiluAndMul)
    # The name that vLLM's kernel looks up, which is not exported from there.
    stock = scaled_mm_cpu.check_cpu_sgl_kernel  # pyright: ignore[reportPrivateImportUsage]
    fits = _tiles_take_activations(stock)
    scaled_mm_cpu.check_cpu_sgl_kernel = fits  # pyright: ignore[reportPrivateImportUsage]


def _tiles_take_activations(stock: Callable[..., bool]) -> Callable[..., bool]:
    """Add a check that vLLM lacks: its INT8 product on AMX reads only 16-bit activations."""

    def fits(outputs: int, inputs: int, dtype: torch.dtype) -> bool:
        # vLLM sets the default to the model's format while it prepares the weights.
        return torch.get_default_dtype() is not torch.float32 and stock(outputs, inputs, dtype)

    return fits


def steady_linear_layers(model: nn.Module, dtype: torch.dtype) -> None:
    """Pad inputs of the model's unquantised linear layers to the rows summed in one order."""
    least = steady_rows(dtype)
    for module in model.modules():
        linear = getattr(module, "cpu_linear", None)
        if linear is not None:
            # A plain function, as vLLM's own; torch's types allow only tensors and modules here.
            module.cpu_linear = _at_least(least, linear)  # pyright: ignore[reportArgumentType]


def steady_rows(dtype: torch.dtype) -> int:
    """Return the rows from which on a product in this format is summed in one order."""
    if dtype is torch.float32:
        return STEADY_ROWS
    return STEADY_ROWS_AMX if torch.cpu._is_amx_tile_supported() else STEADY_ROWS_BF16


def _at_least(least: int, linear: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    def steady(x: torch.Tensor, *arguments: Any) -> torch.Tensor:
        rows = len(x)
        if x.ndim != 2 or not 0 < rows < least:
            return linear(x, *arguments)
        return linear(F.pad(x, (0, 0, 0, least - rows)), *arguments)[:rows]

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
