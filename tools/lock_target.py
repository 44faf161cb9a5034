"""Machines that a lock is for: a Python on a platform, in pip's words and in markers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

_LINUX = ("manylinux2014", *(f"manylinux_2_{minor}" for minor in range(17, 36)))
"""Up to glibc 2.35, which Ubuntu 22.04 has; Debian 12 has 2.36. The oldest first, so that the wheel
taken is one that older machines take too."""
_PLATFORMS = {
    "linux-x86_64": ("linux", "x86_64", tuple(f"{kind}_x86_64" for kind in _LINUX)),
    "linux-aarch64": ("linux", "aarch64", tuple(f"{kind}_aarch64" for kind in _LINUX)),
    "macos-arm64": ("darwin", "arm64", ("macosx_14_0_arm64",)),
}
"""sys_platform, platform_machine, and the tags of wheels."""


class Target(NamedTuple):
    """One Python, such as 3.12, on one platform, such as linux-x86_64."""

    python: str
    platform: str

    @property
    def is_linux(self) -> bool:
        """Whether it runs Linux."""
        return _PLATFORMS[self.platform][0] == "linux"

    def pip_options(self) -> list[str]:
        """Options of pip that look for this target's wheels from any machine."""
        tags = _PLATFORMS[self.platform][2]
        options = ["--python-version", self.python, "--implementation", "cp"]
        return [*options, *(word for tag in tags for word in ("--platform", tag))]

    def environment(self, extra: str = "") -> dict[str, str]:
        """What markers are evaluated with."""
        system, machine, _ = _PLATFORMS[self.platform]
        return {
            "extra": extra,
            "implementation_name": "cpython",
            "implementation_version": f"{self.python}.0",
            "os_name": "posix",
            "platform_machine": machine,
            "platform_python_implementation": "CPython",
            "platform_release": "",
            "platform_system": "Linux" if system == "linux" else "Darwin",
            "platform_version": "",
            "python_full_version": f"{self.python}.0",
            "python_version": self.python,
            "sys_platform": system,
        }


def marker_of(some: Iterable[Target], every: Sequence[Target]) -> str:
    """The shortest plain marker that holds on exactly `some` of `every` target; empty for all.

    Args:
        every: all targets of a lock, in the order of its Pythons.
    """
    chosen = set(some)
    if chosen == set(every):
        return ""
    platforms = list(dict.fromkeys(target.platform for target in every))
    pythons_of = {
        platform: tuple(t.python for t in every if t.platform == platform and t in chosen)
        for platform in platforms
    }
    groups: dict[tuple[str, ...], list[str]] = {}
    for platform, pythons in pythons_of.items():
        if pythons:
            groups.setdefault(pythons, []).append(platform)
    all_pythons = tuple(dict.fromkeys(target.python for target in every))
    parts = [
        _both(_platform_clause(group, platforms), _python_clause(pythons, all_pythons))
        for pythons, group in groups.items()
    ]
    return parts[0] if len(parts) == 1 else " or ".join(f"({part})" for part in parts)


def _both(first: str, second: str) -> str:
    if not first or not second:
        return first or second
    return " and ".join(f"({one})" if " or " in one else one for one in (first, second))


def _platform_clause(group: Sequence[str], platforms: Sequence[str]) -> str:
    if len(group) == len(platforms):
        return ""
    clauses = []
    for system in dict.fromkeys(_PLATFORMS[platform][0] for platform in group):
        of_system = [p for p in platforms if _PLATFORMS[p][0] == system]
        inside = [p for p in group if p in of_system]
        clause = f"sys_platform == '{system}'"
        if len(inside) < len(of_system):
            machines = [f"platform_machine == '{_PLATFORMS[p][1]}'" for p in inside]
            clause = _both(clause, " or ".join(machines))
        clauses.append(clause)
    return " or ".join(clauses)


def _python_clause(pythons: Sequence[str], every: Sequence[str]) -> str:
    if len(pythons) == len(every):
        return ""
    if pythons == every[: len(pythons)]:
        return f"python_version <= '{pythons[-1]}'"
    if pythons == every[-len(pythons) :]:
        return f"python_version >= '{pythons[0]}'"
    return " or ".join(f"python_version == '{python}'" for python in pythons)
