"""Cores and memory that this process may use: affinity, and the limits of its control groups.

A container's limits are those of control groups, of version 1 or 2 or both at once. The group of a
process and all its ancestors count. The module is in the lowest package because all others use it.
"""

from __future__ import annotations

import math
import os
import platform
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

_MOUNT = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")


class MemoryLimit(NamedTuple):
    """The tightest memory limit, and the memory left in the fullest group, both in bytes."""

    total: int
    free: int


def usable_cores(mount: Path = _MOUNT, own: Path = _OWN) -> list[int]:
    """Return the ids of the cores to compute on, ascending, at least one.

    The cores come from the affinity mask; their number is the CPU quota, rounded: half a core too
    many costs little when engines and threads run independently, and half a core too few sits idle.
    Which cores of a large host are chosen depends on the container's name, so that containers that
    pin their engines do not all take the first ones.

    Args:
        mount: folder where control groups are mounted.
        own: file that lists the groups of this process.
    """
    allowed = sorted(os.sched_getaffinity(0))
    quota = cpu_quota(mount, own)
    if quota is None or quota >= len(allowed):
        return allowed
    count = min(len(allowed), max(1, math.floor(quota + 0.5)))
    first = zlib.crc32(platform.node().encode()) // count * count % len(allowed)
    return sorted((allowed + allowed)[first : first + count])


def cpu_quota(mount: Path = _MOUNT, own: Path = _OWN) -> float | None:
    """Return the CPU quota of this process's groups, in cores; None if there is no limit."""
    found = [_quota(group) for group in _groups("cpu", mount, own)]
    return min((quota for quota in found if quota is not None), default=None)


def memory_limit(mount: Path = _MOUNT, own: Path = _OWN) -> MemoryLimit | None:
    """Return the memory limit of this process's groups; None if there is no limit."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    found = [
        limit
        for group in _groups("memory", mount, own)
        if (limit := _memory(group)) is not None and limit.total < machine
    ]
    if not found:
        return None
    return MemoryLimit(min(one.total for one in found), min(one.free for one in found))


def _quota(group: Path) -> float | None:
    words = _read(group / "cpu.max").split() or [
        *_read(group / "cpu.cfs_quota_us").split(),
        *_read(group / "cpu.cfs_period_us").split(),
    ]
    # "max" in version 2, -1 in version 1: no limit.
    if len(words) != 2 or not (words[0].isdigit() and words[1].isdigit()):
        return None
    return int(words[0]) / int(words[1])


def _memory(group: Path) -> MemoryLimit | None:
    for limit, used, cached in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        total, taken = (_read(group / name).strip() for name in (limit, used))
        if total.isdigit() and taken.isdigit():
            words = _read(group / "memory.stat").split()
            kept = dict(zip(words[::2], words[1::2], strict=False))
            # Cached files, which the kernel evicts as soon as the memory is needed.
            free = int(total) - int(taken) + int(kept.get(cached, 0))
            return MemoryLimit(int(total), max(0, free))
    return None


def _groups(controller: str, mount: Path, own: Path) -> Iterator[Path]:
    """Yield the folders of the groups that this process is in; some may not exist.

    A container without its own cgroup namespace reads the host's path, but its group is at the
    mount point.
    """
    for line in _read(own).splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            places = (mount, mount / "unified")
        elif controller in controllers.split(","):
            places = (mount / controllers, mount / controller)
        else:
            continue
        inside = PurePosixPath(path.lstrip("/"))
        for place in places:
            if ".." not in inside.parts:
                yield from (place / part for part in (inside, *inside.parents))
            else:
                yield place


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
