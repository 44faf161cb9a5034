"""The process around one model server: `guard --parent PID --threads N PROGRAM ARGUMENTS`.

The guard sets the server's environment, lowers its priority below jobs, and kills all its
descendants: on SIGTERM, when the server ends, and when the service is gone.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from types import FrameType

from alignment_api.processes.lifetime import die_with_parent
from alignment_api.settings import PREFIX

_NICENESS = 10


def main(argv: Sequence[str] | None = None) -> int:
    """Run the server until it ends, and return its exit status."""
    parser = argparse.ArgumentParser(prog="alignment_api.inference.guard", description=__doc__)
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    given = parser.parse_args(argv)
    servers: list[subprocess.Popen[bytes]] = []
    is_ending = False

    def end(number: int, frame: FrameType | None) -> None:
        nonlocal is_ending
        is_ending = True
        for one in servers:
            one.terminate()

    signal.signal(signal.SIGTERM, end)
    die_with_parent(given.parent)
    os.nice(_NICENESS)
    server = subprocess.Popen(given.command, env=environment(os.environ, given.threads))
    servers.append(server)
    if is_ending:  # the signal came before there was a server to stop
        server.terminate()
    status = server.wait()
    if os.getppid() != given.parent:
        # No other process is left to end what the server started.
        os.killpg(os.getpgrp(), signal.SIGKILL)
    return status if status >= 0 else 128 - status


def environment(outer: Mapping[str, str], threads: int) -> dict[str, str]:
    """Return the server's variables: the operator's, without the service's own secrets."""
    kept = {name: value for name, value in outer.items() if not name.startswith(PREFIX)}
    return {
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "VLLM_HOST_IP": "127.0.0.1",
        "VLLM_NO_USAGE_STATS": "1",
        # Threads bound to the cores of a running job would wait for it at every step.
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        **kept,
        "OMP_NUM_THREADS": str(threads),
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
    }


if __name__ == "__main__":
    sys.exit(main())
