"""What a child takes away from itself before it runs anything that is not ours."""

from __future__ import annotations

import ctypes
import math
import os
import resource
import signal
import sys
from collections.abc import Sequence
from typing import NamedTuple

from reward.child.landlock import confine
from reward.child.limits import ChildLimits

_NEW_USER, _NEW_PROCESSES, _NEW_NETWORK = 0x1000_0000, 0x2000_0000, 0x4000_0000
_DEATH_SIGNAL = 1
MAX_FILE_BYTES = 64 * 2**20
SPARE_TASKS = 512
"""Threads count as processes for the kernel, and numeric libraries start many. The number of
processes alone is watched from outside; this bounds what a fork bomb does until it is seen."""
SIGNALLED = 128
"""Exit code of a process that stands for another: this plus the number of the deadly signal."""


class Isolation(NamedTuple):
    """What was reached. `notes` says what the kernel refused, for the log."""

    separate: bool
    notes: list[str]


def isolate(parent: int, folder: str, pipes: Sequence[int]) -> Isolation:
    """Leave the service's network and processes behind, and write beneath `folder` only.

    May fork: only the process that is to do the work returns, the others wait for it. Nothing but
    this package has run in it yet, and it has one thread.

    Args:
        parent: process id of the service; without it the child ends.
        pipes: file descriptors that are the worker's alone.
    """
    notes: list[str] = []
    libc = ctypes.CDLL(None, use_errno=True)
    separate = libc.unshare(_NEW_USER | _NEW_PROCESSES | _NEW_NETWORK) == 0
    reason = os.strerror(ctypes.get_errno())
    # After unshare(), which clears it. The signal comes when the *thread* that started us ends.
    libc.prctl(_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("the service is gone")
    if separate:
        # The first process of a namespace takes everything in it along when it ends, whatever
        # session or group that joined. It ignores most signals, so a second one does the work.
        _stand_for_a_child(pipes)
        libc.prctl(_DEATH_SIGNAL, signal.SIGKILL)
        _stand_for_a_child(pipes)
    else:
        notes.append(
            f"namespaces are not available ({reason}), so it can send to the network by UDP, and a "
            "process that detaches itself outlives it; allow unprivileged user namespaces"
        )
    refused = confine(folder)
    if refused is not None:
        notes.append(refused)
        if not separate:
            notes.append("it can read the environment of the service, secrets included")
    return Isolation(separate, notes)


def apply_limits(limits: ChildLimits, separate: bool) -> None:
    """Set the limits that last for the child's life.

    Args:
        separate: the child has namespaces of its own.
    """
    memory = limits.memory_mb * 2**20
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_FSIZE, (MAX_FILE_BYTES, MAX_FILE_BYTES))
    if separate:
        # Only there the count starts at zero; elsewhere it includes every thread that the
        # service's user has on this machine.
        tasks = limits.max_processes + SPARE_TASKS
        resource.setrlimit(resource.RLIMIT_NPROC, (tasks, tasks))


def grant_cpu(seconds: float) -> None:
    """Let this process use this much more processor time; then SIGXCPU ends it."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    limit = math.ceil(used.ru_utime + used.ru_stime + seconds)
    resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))


def _stand_for_a_child(pipes: Sequence[int]) -> None:
    """Fork. The child returns; this process waits and then ends as the child did."""
    child = os.fork()
    if child == 0:
        return
    # Only where no other process holds them does their end show that the worker is gone.
    for fd in pipes:
        os.close(fd)
    while True:
        pid, status = os.wait()
        if pid == child:
            break
    if os.WIFSIGNALED(status):
        os._exit(SIGNALLED + os.WTERMSIG(status))
    os._exit(os.waitstatus_to_exitcode(status))
