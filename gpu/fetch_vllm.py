"""Fetch the sources of vLLM's CUDA wheel, without installing it: no GPU is needed.

    python gpu/fetch_vllm.py

downloads the version that is locked for GPUs and unpacks its Python files below build/gpu/, where
`tests/contract/test_vllm_two_builds.py` finds them. The wheel stays beside them, for `parts.py`.
"""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOCKS = ROOT / "deploy" / "requirements"
WHEELS = ROOT / "build" / "gpu" / "wheels"
SOURCES = ROOT / "build" / "gpu" / "vllm-cuda"


def main() -> None:
    """Download and unpack."""
    WHEELS.mkdir(parents=True, exist_ok=True)
    pin = f"vllm=={locked_version()}"
    subprocess.run(
        [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", WHEELS, pin], check=True
    )
    wheel = next(WHEELS.glob("vllm-*.whl"))
    print(f"{unpack(wheel, SOURCES)} Python files of {wheel.name} in {SOURCES}")


def locked_version() -> str:
    """Version of vLLM in the locks for GPUs."""
    for lock in sorted(LOCKS.glob("gpu*.txt")):
        found = re.search(r"^vllm==([^\s;\\]+)", lock.read_text(), re.MULTILINE)
        if found:
            return found[1]
    raise SystemExit(f"no line vllm==... in {LOCKS}/gpu*.txt")


def unpack(wheel: Path, folder: Path) -> int:
    """Unpack a wheel's Python files; returns how many."""
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if name.endswith(".py")]
        archive.extractall(folder, names)
    return len(names)


if __name__ == "__main__":
    main()
