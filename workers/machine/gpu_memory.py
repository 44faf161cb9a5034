"""Memory that other processes still hold on this process's GPUs, as `nvidia-smi` reports it."""

from __future__ import annotations

import os
import shutil
import subprocess
import time

_NVIDIA_TIMEOUT_S = 20.0
_POLL_S = 0.5
_SETTLED_S = 3.0
"""Time without a decrease after which the memory counts as held by a process that stays."""
_IDLE_FRAC = 0.02


def await_free_memory(longest_s: float = 60.0) -> None:
    """Wait until processes that were stopped here have freed their GPU memory.

    Ray reassigns a GPU as soon as it signals the process to end; the driver frees the memory a
    little later, and vLLM refuses to start on a GPU with less free memory than promised. Returns at
    once without a GPU, and soon if other processes keep their memory: vLLM then reports the error.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    program = shutil.which("nvidia-smi")
    if program is None or not visible:
        return
    now_s = time.monotonic()
    give_up_s, settled_s = now_s + longest_s, now_s + _SETTLED_S
    least = float("inf")
    while (used := used_frac(program, visible)) is not None and used > _IDLE_FRAC:
        now_s = time.monotonic()
        if used < least:
            least, settled_s = used, now_s + _SETTLED_S
        if now_s > min(give_up_s, settled_s):
            return
        time.sleep(_POLL_S)


def used_frac(program: str, visible: str) -> float | None:
    """Return the largest share of memory in use among some GPUs, 0 to 1; None if unknown.

    Args:
        visible: the GPUs, as CUDA_VISIBLE_DEVICES names them.
    """
    command = [program, "--query-gpu=memory.used,memory.total", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(
            [*command, "-i", visible], capture_output=True, text=True, timeout=_NVIDIA_TIMEOUT_S
        )
        pairs = [line.split(",") for line in answer.stdout.splitlines() if line.strip()]
        return max(float(used) / float(total) for used, total in pairs)
    except (OSError, ValueError, ZeroDivisionError, subprocess.TimeoutExpired):
        return None
