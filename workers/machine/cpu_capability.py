"""CPU instruction sets, with one answer for torch and for vLLM.

torch uses a smaller set if `ATEN_CPU_CAPABILITY` says so. vLLM asks the processor itself, and would
still load its AVX-512 library.
"""

from __future__ import annotations

import os
from types import MappingProxyType

CAPABILITY_VARIABLE = "ATEN_CPU_CAPABILITY"
"""torch's own variable; `avx2` is the value that matters here."""
SMALL_CPU = {
    CAPABILITY_VARIABLE: "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
}
"""Environment in which a larger x86-64 CPU computes like one that has only AVX2."""

_BEYOND_AVX2 = ("avx512", "avx10", "amx", "avx_vnni", "avx_ne_convert")


def honour_lowered_capability() -> None:
    """Limit vLLM to the instructions that torch uses. Must run before vLLM is imported."""
    if os.environ.get(CAPABILITY_VARIABLE, "").lower() not in ("avx2", "default"):
        return
    import torch

    seen = MappingProxyType(
        {
            name: False if name.startswith(_BEYOND_AVX2) else value
            for name, value in torch.cpu.get_capabilities().items()
        }
    )
    torch.cpu.get_capabilities = lambda: seen
