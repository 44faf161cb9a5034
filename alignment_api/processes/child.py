"""The process of one job, seen from the service."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from alignment_api.processes.devices import Share


class JobChild:
    """A child process in a session of its own, so that all it starts can be killed with it."""

    def __init__(self, argv: Sequence[str], log: Path, share: Share) -> None:
        """Start it; its output is added to `log`.

        Args:
            argv: the command.
            log: file for its output.
            share: what of the machine it may use.
        Raises:
            OSError: the program cannot be started or the log cannot be written.
        """
        self._is_killed = False
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            output.write(f"--- start {time.strftime('%Y-%m-%d %H:%M:%S')}\n".encode())
            output.flush()
            with _limited_to(share.cores):
                self._process = subprocess.Popen(
                    argv,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    env=os.environ | {"PYTHONUNBUFFERED": "1"} | share.environment,
                )

    def exit_status(self, wait_s: float = 0.0) -> int | None:
        """Exit status, negative for a signal; None if it still runs after `wait_s` seconds."""
        try:
            return self._process.wait(wait_s)
        except subprocess.TimeoutExpired:
            return None

    def stop(self, grace_s: float) -> None:
        """Ask the process to end, then kill what is left of its group."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        self.exit_status(grace_s)
        self.kill()

    def kill(self) -> None:
        """Kill the process and everything in its group. Safe to call twice."""
        if self._is_killed:  # the group's number may belong to others by now
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._is_killed = True
        self._process.wait()


def last_lines(log: Path, count: int, most_bytes: int) -> str:
    """The end of a child's output: up to so many lines, and no more than so many bytes."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - most_bytes))
        return "\n".join(file.read().decode(errors="replace").splitlines()[-count:])


@contextlib.contextmanager
def _limited_to(cores: Sequence[int]) -> Iterator[None]:
    """Keep this thread on some cores: a child inherits them from the thread that starts it."""
    if not cores:
        yield
        return
    usual = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, usual)
