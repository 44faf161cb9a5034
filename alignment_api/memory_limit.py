"""How much memory there is: the machine's, or the container's where that is less."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUP = Path("/proc/self/cgroup")


class MemoryLimit(NamedTuple):
    """Most memory that processes here can have."""

    total_bytes: int
    is_container: bool
    """A control group sets it, not the machine."""


def memory_limit(cgroups: Path = _CGROUPS, own: Path = _OWN_CGROUP) -> MemoryLimit:
    """Read it from the machine and from control groups, version 1 or 2.

    Args:
        cgroups: where they are mounted.
        own: the file that says which ones this process is in.
    """
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = [limit for file in _limit_files(cgroups, own) if (limit := _number(file)) is not None]
    least = min(limits, default=total)
    return MemoryLimit(min(total, least), least < total)


def _limit_files(cgroups: Path, own: Path) -> list[Path]:
    """Of the own group and all above it: each of them limits."""
    try:
        lines = own.read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    files = [cgroups / "memory.max", cgroups / "memory" / "memory.limit_in_bytes"]
    for line in lines:
        _, controllers, path = line.split(":", 2)
        # What stands above a container's own root cannot be seen from inside.
        groups = [Path(path.lstrip("/")), *Path(path.lstrip("/")).parents]
        if controllers == "":
            files += [cgroups / group / "memory.max" for group in groups]
        elif "memory" in controllers.split(","):
            files += [cgroups / "memory" / group / "memory.limit_in_bytes" for group in groups]
    return files


def _number(file: Path) -> int | None:
    try:
        text = file.read_text(encoding="utf-8").strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None
