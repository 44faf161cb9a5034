"""A node on this machine in a Ray cluster that runs elsewhere, for the duration of one job.

A Ray driver talks to a node on its own machine. This node offers neither cores nor GPUs and ends
with the job, so the service's machine need not belong to the cluster.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from essa.errors import ClusterError

START_TIMEOUT_S = 120.0
_POLL_S = 0.2
_STOP_S = 10.0
_LOG_LINES = 4
_STARTED = "Ray runtime started"
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


@contextmanager
def own_node(address: str) -> Iterator[str]:
    """Add a node without resources to the cluster at `address`; yields the node's folder.

    Ray finds the node of a driver by that folder: other jobs have nodes on this machine too.

    Raises:
        ClusterError: the cluster cannot be reached or refuses the node.
    """
    # Below /tmp: the sockets in it must have short names.
    with TemporaryDirectory(prefix="essa-ray-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        log = Path(folder) / "node.log"
        process = _start(_arguments(address, folder), log)
        try:
            _await_start(process, log, address)
            yield folder
        finally:
            _stop(process)


def _arguments(address: str, folder: str) -> list[str]:
    return [
        "start",
        f"--address={address}",
        f"--temp-dir={folder}",
        "--num-cpus=0",
        "--num-gpus=0",
        # Several jobs, and perhaps a node of the cluster itself, share this machine.
        "--dashboard-agent-listen-port=0",
        "--block",
    ]


def _start(arguments: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "workers.cluster.ray_node", str(os.getpid()), *arguments]
    with log.open("wb") as output:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )


def _await_start(process: subprocess.Popen[bytes], log: Path, address: str) -> None:
    give_up_at = time.monotonic() + START_TIMEOUT_S
    while _STARTED not in log.read_text(errors="replace"):
        if process.poll() is not None:
            raise ClusterError(f"no Ray cluster at {address} that takes this machine: {_end(log)}")
        if time.monotonic() > give_up_at:
            raise ClusterError(
                f"the Ray cluster at {address} did not take this machine within "
                f"{START_TIMEOUT_S:g} s: {_end(log)}"
            )
        time.sleep(_POLL_S)


def _end(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return " / ".join(lines[-_LOG_LINES:]) or "it said nothing"


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()  # one of Ray's processes watches this one and ends the rest
        process.wait()


def _main(argv: Sequence[str]) -> None:
    """Run `ray ...`, and end with the process that started this one."""
    parent, *arguments = argv
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != int(parent):
        sys.exit(1)
    from ray.scripts.scripts import main

    sys.argv = ["ray", *arguments]
    main()


if __name__ == "__main__":
    _main(sys.argv[1:])
