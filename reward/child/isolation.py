"""Restrictions that a child puts on itself before it runs any code that is not ours."""

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
"""Tasks allowed beyond `max_processes`: the kernel counts threads too, and numeric libraries start
many. The parent watches the number of processes; this bounds a fork bomb until the parent sees it.
"""
SIGNALLED = 128
"""Offset of a stand-in's exit code: the number of the signal that killed its child is added."""


class Isolation(NamedTuple):
    """The isolation achieved. `notes` says what the kernel refused, for the log."""

    separate: bool
    notes: list[str]


def isolate(parent: int, folder: str, pipes: Sequence[int]) -> Isolation:
    """Cut this process off from the service's network and processes; write only beneath `folder`.

    May fork: only the process that does the work returns, the others wait for it. The caller must
    have a single thread and must have run no code but this package's.

    Args:
        parent: process id of the service; if the service is gone, the child ends.
        pipes: file descriptors that only the worker may hold.
    """
    notes: list[str] = []
    libc = ctypes.CDLL(None, use_errno=True)
    separate = libc.unshare(_NEW_USER | _NEW_PROCESSES | _NEW_NETWORK) == 0
    reason = os.strerror(ctypes.get_errno())
    # After unshare(), which clears the signal. It comes when the *thread* that started us ends.
    libc.prctl(_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("the service is gone")
    if separate:
        # When the first process of a namespace ends, everything in the namespace ends, whatever its
        # session or group. The first process ignores most signals, so a second one does the work.
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
        separate: whether the child has namespaces of its own.
    """
    memory = limits.memory_mb * 2**20
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_FSIZE, (MAX_FILE_BYTES, MAX_FILE_BYTES))
    if separate:
        # The count starts at zero only in a namespace; outside, it includes every thread of the
        # service's user on this machine.
        tasks = limits.max_processes + SPARE_TASKS
        resource.setrlimit(resource.RLIMIT_NPROC, (tasks, tasks))


def grant_cpu(seconds: float) -> None:
    """Let this process use `seconds` more of processor time; then SIGXCPU ends it."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    limit = math.ceil(used.ru_utime + used.ru_stime + seconds)
    resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))


def _stand_for_a_child(pipes: Sequence[int]) -> None:
    """Fork. The child returns; this process waits and then ends as the child did."""
    child = os.fork()
    if child == 0:
        return
    # The end of a pipe shows that the worker is gone only if no other process holds the pipe.
    for fd in pipes:
        os.close(fd)
    while True:
        pid, status = os.wait()
        if pid == child:
            break
    if os.WIFSIGNALED(status):
        os._exit(SIGNALLED + os.WTERMSIG(status))
    os._exit(os.waitstatus_to_exitcode(status))
