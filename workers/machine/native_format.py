"""The choice between float32 and bfloat16 in a process for which no job has decided.

A job decides once for all its engines (`essa.number_format`); engines, trainers and reward models
that are built outside a job ask here. Loads torch, but not vLLM.
"""

from __future__ import annotations

import time
from functools import cache

import torch

from essa.number_format import FAST_SHARE, Activations
from essa.spec.engine import Precision

_ROWS, _INPUTS, _OUTPUTS = 96, 576, 1536
_ROUNDS = 7


def native_activations(precision: Precision | str, device: str = "auto") -> Activations:
    """Return the format of the activations for a base in this precision.

    Args:
        device: `cuda`, `cpu`, or `auto` for a GPU if torch sees one.
    """
    return "float32" if precision == Precision.FP32 else native_training(device)


def native_training(device: str = "auto") -> Activations:
    """Return the format that weights are trained in: bfloat16 unless it would be emulated."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda"):
        # Volta and Turing have no bfloat16 units.
        is_native = torch.cuda.get_device_capability(device) >= (8, 0)
    else:
        is_native = _is_fast_on_cpu()
    return "bfloat16" if is_native else "float32"


@cache
def _is_fast_on_cpu() -> bool:
    # Only in builds with oneDNN; it answers at once, while timing products takes tens of ms.
    is_supported = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    if is_supported is not None and not is_supported():
        return False
    threads = torch.get_num_threads()
    # On a busy machine, a pool of threads would time the other processes too.
    torch.set_num_threads(1)
    try:
        seconds = {torch.float32: float("inf"), torch.bfloat16: float("inf")}
        for _ in range(_ROUNDS):
            for dtype in seconds:
                seconds[dtype] = min(seconds[dtype], _product_s(dtype))
    finally:
        torch.set_num_threads(threads)
    return FAST_SHARE * seconds[torch.bfloat16] <= seconds[torch.float32]


def _product_s(dtype: torch.dtype) -> float:
    x, weight = torch.ones(_ROWS, _INPUTS, dtype=dtype), torch.ones(_OUTPUTS, _INPUTS, dtype=dtype)
    started_s = time.perf_counter()
    torch.nn.functional.linear(x, weight)
    return time.perf_counter() - started_s
