"""End processes that the service started: on SIGTERM, and with their parent."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from types import FrameType

INTERRUPTED = 128 + signal.SIGTERM
"""Exit status of a process that ended on SIGTERM."""

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_POLL_S = 0.5
_GRACE_S = 15.0


def unwind_on_terminate() -> None:
    """Let SIGTERM unwind this process, so that it cleans up."""
    signal.signal(signal.SIGTERM, _on_terminate)


def die_with_parent(parent: int) -> None:
    """Unwind this process when `parent` ends, and kill its group if that takes too long.

    Call it in the main thread of a process that leads its own group. On Linux the kernel sends
    SIGTERM at once; elsewhere, and if the parent was already gone, a thread checks twice a
    second.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    threading.Thread(target=_watch, args=(parent,), name="parent-watch", daemon=True).start()


def _on_terminate(number: int, frame: FrameType | None) -> None:
    # A second signal must not interrupt the unwinding.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(INTERRUPTED)


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_POLL_S)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GRACE_S)
    os.killpg(os.getpgrp(), signal.SIGKILL)
