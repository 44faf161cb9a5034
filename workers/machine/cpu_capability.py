"""One answer to which instructions the CPU has, for torch and for vLLM.

torch takes fewer of them where `ATEN_CPU_CAPABILITY` says so. vLLM asks the processor itself, and
would load its AVX-512 library all the same.
"""

from __future__ import annotations

import os
from types import MappingProxyType

CAPABILITY_VARIABLE = "ATEN_CPU_CAPABILITY"
"""torch's own; `avx2` is the one that matters here."""
SMALL_CPU = {
    CAPABILITY_VARIABLE: "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
}
"""Environment in which a larger x86-64 CPU computes as one with AVX2 and no more."""

_BEYOND_AVX2 = ("avx512", "avx10", "amx", "avx_vnni", "avx_ne_convert")


def honour_lowered_capability() -> None:
    """Let vLLM see no more of the CPU than torch uses. Call it before vLLM is imported."""
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
