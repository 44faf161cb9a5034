"""Claims of engines on the cores of a machine, among all jobs that run there.

Jobs that share a cluster plan their placements independently, and each counts cores from the first.
A lock on one file per core shows which are taken; it ends with the process that holds it.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

_held: list[int] = []
"""Descriptors of the locks of this process."""


def claim_cores(allowed: Sequence[int], positions: Sequence[int]) -> list[int]:
    """Claim as many of the allowed cores as there are positions, those at the positions first.

    If too few are free, cores are shared: the ones at the positions are returned.
    """
    wished = [allowed[position] for position in positions]
    others = [core for core in allowed if core not in wished]
    claimed: dict[int, int] = {}
    for core in (*wished, *others):
        if len(claimed) == len(wished):
            break
        descriptor = _lock(core)
        if descriptor is not None:
            claimed[core] = descriptor
    if len(claimed) < len(wished):
        for descriptor in claimed.values():
            os.close(descriptor)
        return wished
    _held.extend(claimed.values())
    return sorted(claimed)


def _lock(core: int) -> int | None:
    """Return the descriptor of a core's lock, or None if another process has the lock."""
    folder = Path(tempfile.gettempdir()) / f"essa-cores-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(folder / str(core), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor
