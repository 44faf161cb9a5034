"""One child process, as the service sees it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple, cast

from reward.child.family import family
from reward.child.frame import Channel, ChannelClosed, ChannelTimeout, pack
from reward.child.isolation import SIGNALLED
from reward.child.limits import ChildLimits

LOAD_S = 60.0
"""Least time a child gets to load its program; on a busy machine imports take seconds."""
GRACE_S = 0.5
"""Longest wait for the exit status of a child whose pipe ended."""
ROOT = str(Path(__file__).parents[2])
PROGRAM = "import sys; sys.path.append(sys.argv[1]); from reward.child.worker import main; main()"
# -P keeps the current folder and the script's folder out of the module path, -s the user's own.
# Not -I, which would ignore the hash seed as well.
ARGUMENTS = (sys.executable, "-P", "-s", "-c", PROGRAM, ROOT)
ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "LANG": "C.UTF-8",
    # The order of a set of strings, and so perhaps a score, is the same in every child.
    "PYTHONHASHSEED": "0",
    "PYTHONDONTWRITEBYTECODE": "1",
    # Children run in parallel; each has work for one core.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}


class Program(NamedTuple):
    """Program of a child: a module with `load(arguments)`, and arguments that JSON can carry."""

    module: str
    arguments: dict[str, Any]


class ChildDied(Exception):
    """The child ended, or had to be ended, while it had an item; the message says how."""


class LimitReached(Exception):
    """The item exceeded a limit; `name` is the field of that limit in `ChildLimits`."""

    def __init__(self, what: str, name: str) -> None:
        super().__init__(what)
        self.what = what
        self.name = name


class Child:
    """A started process in a folder of its own. Used by one thread at a time, except for `kill`."""

    def __init__(self, limits: ChildLimits) -> None:
        self._limits = limits
        self._lock = threading.Lock()
        self._reaped = False
        self._own_processes = 0
        self.items = 0
        self.first_peak_mb = self.peak_mb = 0.0
        self._folder = Path(tempfile.mkdtemp(prefix="essa-reward-"))
        self._home = self._folder / "home"
        self._home.mkdir()
        try:
            self._process = self._start()
        except OSError:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        self._pipes = (stdin, stdout)
        self._channel = Channel(stdin.fileno(), stdout.fileno(), self._watch)

    def _start(self) -> subprocess.Popen[bytes]:
        with (self._folder / "start.log").open("wb") as log:
            return subprocess.Popen(
                ARGUMENTS,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=self._home,
                env=ENVIRONMENT | dict.fromkeys(("HOME", "TMPDIR"), str(self._home)),
                start_new_session=True,
            )

    def load(self, program: Program) -> dict[str, Any]:
        """Let the child load its program.

        Returns:
            `notes`, and `error` if the program cannot be loaded.
        Raises:
            LimitReached, ChildDied: the child is of no further use; `close` it.
        """
        setup = {
            "program": program.module,
            "arguments": program.arguments,
            "limits": self._limits.to_message(),
            "parent": os.getpid(),
            "folder": str(self._home),
        }
        answer = self._exchange(pack(setup), max(LOAD_S, self._limits.timeout_s))
        self._own_processes = len(family(self._process.pid))
        self.first_peak_mb = self.peak_mb = answer["peak_mb"]
        return answer

    def score(self, packed: bytes, timeout_s: float) -> dict[str, Any]:
        """Let the child score one packed request.

        Returns:
            `value` or `error`, and the printed text as `output`.
        Raises:
            LimitReached, ChildDied: the child is of no further use; `close` it.
        """
        answer = self._exchange(packed, timeout_s)
        self.items += 1
        self.peak_mb = answer["peak_mb"]
        return answer

    def kill(self) -> None:
        """End the child and everything it started. Any thread may call it."""
        with self._lock:
            self._signal()

    def close(self) -> None:
        """Kill the child and free its resources."""
        self._reap()
        for pipe in self._pipes:
            pipe.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _signal(self) -> None:
        if self._reaped:
            return
        for pid in family(self._process.pid):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        # The whole group at once, so that no fork escapes.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _reap(self) -> int:
        """Kill the child and wait for it; afterwards its process id may be reused."""
        with self._lock:
            self._signal()
            code = self._process.wait()
            self._reaped = True
        return code

    def _exchange(self, packed: bytes, timeout_s: float) -> dict[str, Any]:
        try:
            answer = self._channel.exchange(packed, time.monotonic() + timeout_s)
        except ChannelTimeout as error:
            raise LimitReached(f"no answer within {timeout_s:g} s", "timeout_s") from error
        except ChannelClosed as error:
            raise self._death(str(error)) from error
        fields = cast("dict[str, Any]", answer) if isinstance(answer, dict) else {}
        if not isinstance(fields.get("peak_mb"), float):
            raise ChildDied("the process sent something that is no answer")
        return fields

    def _watch(self) -> None:
        if self._ended():
            raise ChannelClosed("ended")
        if not self._own_processes:
            return
        started = len(family(self._process.pid)) - self._own_processes
        if started > self._limits.max_processes:
            raise LimitReached(
                f"{started} processes at once, where {self._limits.max_processes} are the most",
                "max_processes",
            )

    def _ended(self) -> bool:
        # Without reaping: the process id must stay taken until the group has been killed.
        options = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self._process.pid, options) is not None

    def _death(self, what: str) -> Exception:
        """Return how the child died, after its pipe has ended."""
        deadline_s = time.monotonic() + GRACE_S
        while not self._ended():
            if time.monotonic() > deadline_s:
                return ChildDied(f"the process {what}")
            time.sleep(0.005)
        code = self._reap()
        number = -code if code < 0 else code - SIGNALLED
        if number == signal.SIGXCPU:
            return LimitReached(f"more than {self._limits.cpu_s:g} s of processor time", "cpu_s")
        if number in set(signal.Signals):
            return ChildDied(f"the process was ended by {signal.Signals(number).name}")
        log = (self._folder / "start.log").read_text(errors="replace").strip()
        return ChildDied(f"the process ended with code {code}" + (f": {log[-500:]}" if log else ""))
