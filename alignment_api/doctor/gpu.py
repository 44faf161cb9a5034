"""GPUs, their driver, and whether the installed engine is built for them."""

from __future__ import annotations

import glob
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from alignment_api.doctor.finding import Finding, failure, ok, warning
from alignment_api.doctor.packages import flavour, version_of

_TIMEOUT_S = 20
_IMPORT_TIMEOUT_S = 60
_IN_EVERY_BUILD = (8, 0)
"""Compute capability from which on every supported CUDA build of torch has kernels."""
_QUERY = "--query-gpu=name,memory.total,driver_version,compute_cap"


def check_gpus() -> Iterator[Finding]:
    """Compare what nvidia-smi reports with the installation."""
    program = shutil.which("nvidia-smi")
    is_gpu_build = flavour() == "vllm"
    if program is None:
        yield from _without_tool(is_gpu_build)
        return
    answer = _ask(program, _QUERY, "--format=csv,noheader")
    if isinstance(answer, Finding):
        yield answer
        return
    gpus = [line.strip() for line in answer.splitlines() if line.strip()]
    for number, line in enumerate(gpus):
        yield ok(f"gpu {number}", line)
    if gpus and not is_gpu_build and flavour() is not None:
        yield warning(
            "gpu",
            f"{len(gpus)} GPUs, but {flavour()} is installed: engines run on the CPU",
            "make a new environment with `make install-gpu`",
        )
    if is_gpu_build:
        yield from check_capability()
        yield from _torch_build()
        yield from _driver(program)


def check_capability() -> Iterator[Finding]:
    """Check whether the installed torch has kernels for GPUs as old as these."""
    program = shutil.which("nvidia-smi")
    if program is None or flavour() != "vllm":
        return
    answer = _ask(program, "--query-gpu=name,compute_cap", "--format=csv,noheader")
    if isinstance(answer, Finding):
        return  # `check_gpus` reports it
    old: dict[str, tuple[int, int]] = {}
    for number, line in enumerate(line for line in answer.splitlines() if line.strip()):
        name, _, capability = line.rpartition(",")
        found = _numbers(r"^\s*(\d+)\.(\d+)", capability)
        if found is not None and found < _IN_EVERY_BUILD and _is_visible(number):
            old[f"gpu {number}, {name.strip()},"] = found
    oldest = _oldest_of_torch() if old else None
    for gpu, found in old.items():
        if oldest is not None and found < oldest:
            yield failure(
                "gpu capability",
                f"{gpu} has compute capability {_dotted(found)}, and the installed torch was "
                f"built for {_dotted(oldest)} and newer",
                "use a newer GPU (CUDA_VISIBLE_DEVICES chooses among several), or run on the CPU "
                "in a new environment made with `make install`",
            )


def _is_visible(number: int) -> bool:
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        return True
    names = [name.strip() for name in chosen.split(",")]
    # GPUs named by an identifier cannot be told apart here.
    return str(number) in names or not all(name.lstrip("-").isdigit() for name in names)


def _oldest_of_torch() -> tuple[int, int] | None:
    """Return the oldest compute capability that the installed torch has kernels for."""
    # In its own process: this one must not load torch.
    code = "import torch; print(torch._C._cuda_getArchFlags() or '')"
    try:
        answer = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            timeout=_IMPORT_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    # sm_75 runs on GPUs of its generation from 7.5 on; compute_75 compiles for any newer one.
    found = re.findall(r"\b(?:sm|compute)_(\d+)(\d)", answer.stdout)
    return min(((int(major), int(minor)) for major, minor in found), default=None)


def _without_tool(is_gpu_build: bool) -> Iterator[Finding]:
    if is_gpu_build:
        yield failure(
            "gpu",
            "vllm is the build for GPUs, and there is no nvidia-smi",
            "install NVIDIA's driver; in a container, start it with `--gpus all`; without a GPU, "
            "make a new environment with `make install`",
        )
    elif glob.glob("/dev/nvidia[0-9]*"):
        yield warning(
            "gpu", "device files of a GPU but no nvidia-smi", "install NVIDIA's driver tools"
        )
    else:
        yield ok("gpu", "none: engines run on the CPU")


def _torch_build() -> Iterator[Finding]:
    version = version_of("torch") or ""
    if version.endswith("+cpu"):
        advice = "make a new environment with `make install-gpu`"
        yield failure("torch build", f"torch {version} knows no CUDA, and vllm needs it", advice)


def _driver(program: str) -> Iterator[Finding]:
    built, offered = _cuda_of_torch(), _cuda_of_driver(program)
    if built is None or offered is None:
        return
    if offered < built and offered[0] < built[0]:
        yield failure(
            "cuda",
            f"the driver offers CUDA {_dotted(offered)}, torch was built for {_dotted(built)}",
            f"update NVIDIA's driver to one for CUDA {built[0]}",
        )
    else:
        yield ok("cuda", f"driver {_dotted(offered)}, torch {_dotted(built)}")


def _cuda_of_torch() -> tuple[int, int] | None:
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    # Read instead of imported: importing torch would take seconds.
    text = Path(spec.origin).with_name("version.py").read_text(encoding="utf-8")
    return _numbers(r"^cuda\b[^=]*=\s*['\"](\d+)\.(\d+)", text)


def _cuda_of_driver(program: str) -> tuple[int, int] | None:
    answer = _ask(program)
    return (
        None if isinstance(answer, Finding) else _numbers(r"CUDA.*?Version:\s*(\d+)\.(\d+)", answer)
    )


def _numbers(pattern: str, text: str) -> tuple[int, int] | None:
    found = re.search(pattern, text, re.MULTILINE)
    return (int(found[1]), int(found[2])) if found else None


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"


def _ask(program: str, *arguments: str) -> str | Finding:
    advice = "look at `nvidia-smi` and `dmesg`; the driver may have to be loaded or updated"
    try:
        answer = subprocess.run(
            [program, *arguments], capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return failure("gpu", f"nvidia-smi does not answer: {error}", advice)
    if answer.returncode != 0:
        reason = (answer.stderr or answer.stdout).strip().partition("\n")[0]
        return failure("gpu", f"nvidia-smi failed: {reason}", advice)
    return answer.stdout
