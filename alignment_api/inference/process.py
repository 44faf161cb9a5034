"""The process of one model server, with its socket and its log."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import tempfile
from pathlib import Path

from alignment_api.errors import ModelServerError
from alignment_api.inference.launch import server_command, threads
from alignment_api.models.entry import Weights
from alignment_api.processes.child import JobChild, last_lines
from alignment_api.processes.devices import Share
from alignment_api.settings import Settings

logger = logging.getLogger(__name__)

_LOG_LINES = 12
_LOG_TAIL_BYTES = 8192


class ServerProcess:
    """A running program that is meant to answer at `socket`.

    The socket is in a folder that only this user may enter, because vLLM's API key would leave
    some of its routes open.

    Attributes:
        socket: path where the server listens once it has started.
        log: file with the server's output.
    """

    def __init__(self, weights: Weights, settings: Settings, share: Share) -> None:
        """Start the process, from a long-lived thread: the kernel ends a process with its thread.

        Raises:
            NotServedError: vLLM is not installed, or does not support these weights.
            ModelServerError: the log cannot be written.
        """
        self._folder = Path(tempfile.mkdtemp(prefix="essa-model-"))
        self.socket = self._folder / "s"
        self.log = settings.inference_dir / f"{weights.base.name}.log"
        try:
            command = server_command(settings, weights, self.socket)
            self._child = self._started(command, threads(settings), share)
        except BaseException:
            self._folder.rmdir()
            raise
        logger.info("a server for %s starts; its log is %s", weights.base, self.log)

    def exit_status(self, wait_s: float = 0.0) -> int | None:
        """Return the exit status; see `JobChild.exit_status`."""
        return self._child.exit_status(wait_s)

    def stop(self, grace_s: float) -> None:
        """End the process and all its descendants. Blocking."""
        self._child.stop(grace_s)
        shutil.rmtree(self._folder, ignore_errors=True)

    def log_tail(self) -> str:
        """Return the log's path and its last lines."""
        return f"The end of {self.log}:\n{last_lines(self.log, _LOG_LINES, _LOG_TAIL_BYTES)}"

    def _started(self, command: list[str], threads: int, share: Share) -> JobChild:
        guard = [sys.executable, "-m", "alignment_api.inference.guard"]
        given = ["--parent", str(os.getpid()), "--threads", str(threads)]
        try:
            if self.log.exists():
                self.log.replace(self.log.with_suffix(".previous.log"))
            return JobChild([*guard, *given, *command], self.log, share)
        except OSError as error:
            raise ModelServerError(f"no model server can be started: {error}") from error
