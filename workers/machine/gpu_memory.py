"""Memory of this process's GPUs that others still hold, as `nvidia-smi` tells it."""

from __future__ import annotations

import os
import shutil
import subprocess
import time

_NVIDIA_TIMEOUT_S = 20.0
_POLL_S = 0.5
_SETTLED_S = 3.0
"""Memory that has not fallen for so long is held by somebody who stays."""
_IDLE_FRAC = 0.02


def await_free_memory(longest_s: float = 60.0) -> None:
    """Wait until who was stopped here has given its memory back.

    Ray hands a GPU on when its process is told to end; the driver frees the memory a little later,
    and vLLM refuses to start on a GPU that is not as free as it was promised. Returns at once
    without a GPU, and soon where others keep theirs: then the one who asks for it says so.
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
    """Largest share in use among some GPUs, from 0 to 1; None where the driver does not tell.

    Args:
        visible: as CUDA_VISIBLE_DEVICES names them.
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
