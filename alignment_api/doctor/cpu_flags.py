"""Model name and instruction sets of the CPU."""

from __future__ import annotations

from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")


def cpu_flags(cpuinfo: Path = _CPUINFO) -> frozenset[str]:
    """Return the flags of the first core, such as `avx2`; empty if the system lists none."""
    return frozenset(_field("flags", cpuinfo).split())


def cpu_name(cpuinfo: Path = _CPUINFO) -> str:
    """Return the CPU's model name."""
    return _field("model name", cpuinfo) or "this CPU"


def _field(name: str, cpuinfo: Path) -> str:
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return ""
