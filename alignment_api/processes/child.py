"""A child process, such as that of a job."""

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
    """A child process in its own session, so that all its descendants can be killed with it."""

    def __init__(self, argv: Sequence[str], log: Path, share: Share) -> None:
        """Start the process; its output is appended to `log`.

        Args:
            argv: the command and its arguments.
            log: file for its output.
            share: the devices that the process may use.
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
        """Return the exit status, negative for a signal; None if it still runs after `wait_s`."""
        try:
            return self._process.wait(wait_s)
        except subprocess.TimeoutExpired:
            return None

    def stop(self, grace_s: float) -> None:
        """Ask the process to end, then kill the rest of its process group."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        self.exit_status(grace_s)
        self.kill()

    def kill(self) -> None:
        """Kill the process and its process group. Idempotent."""
        if self._is_killed:  # the group's number may be reused by now
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._is_killed = True
        self._process.wait()


def last_lines(log: Path, count: int, most_bytes: int) -> str:
    """Return the end of a child's output: up to `count` lines and `most_bytes` bytes."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - most_bytes))
        return "\n".join(file.read().decode(errors="replace").splitlines()[-count:])


@contextlib.contextmanager
def _limited_to(cores: Sequence[int]) -> Iterator[None]:
    """Restrict this thread to some cores, which a child inherits from the thread that starts it."""
    if not cores:
        yield
        return
    usual = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, usual)
