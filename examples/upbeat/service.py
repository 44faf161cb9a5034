"""The service of the demo: started, waited for, and stopped in order."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0


def free_port() -> int:
    """A port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def serve(server: str, out: Path, engines: int) -> subprocess.Popen[bytes]:
    """Start it with as many engine slots as the demo has engines; its log is `serve.log`."""
    port = server.rsplit(":", 1)[1]
    command = [sys.executable, "-m", "alignment_api.cli.main", "serve", "--port", port]
    with (out / "serve.log").open("wb") as log:
        # Its own session: Ctrl-C reaches the demo alone, which then stops the service in order.
        return subprocess.Popen(
            [*command, "--home", str(out / "home")],
            # One person on one machine: no keys, and the whole machine for the one job.
            env=os.environ | {"ESSA_AUTH": "off", "ESSA_ENGINE_SLOTS": str(engines)},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def wait_until_up(server: str, process: subprocess.Popen[bytes], out: Path) -> None:
    """Wait for its first answer.

    Raises:
        SystemExit: it has ended or does not answer; the message has the end of its log.
    """
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline_s:
        if process.poll() is not None:
            break
        try:
            if httpx.get(f"{server}/healthz", trust_env=False, timeout=2.0).is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    log = (out / "serve.log").read_text(errors="replace").strip().splitlines()
    sys.exit("the service did not start:\n" + "\n".join(log[-10:]))


def stop(process: subprocess.Popen[bytes]) -> None:
    """End it and all that it has started."""
    if process.poll() is not None:
        return
    # A second Ctrl-C must not cut this short.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
