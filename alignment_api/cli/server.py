"""The service in this process, until it is asked to stop."""

from __future__ import annotations

import threading
from types import FrameType

import uvicorn
from fastapi import FastAPI


def serve(app: FastAPI, host: str, port: int) -> None:
    """Serve until SIGINT or SIGTERM.

    Raises:
        SystemExit: the port is in use; nothing has started.
    """
    config = uvicorn.Config(
        app, host, port, log_config=None, access_log=False, timeout_graceful_shutdown=5
    )
    # Bound before the queue starts, so that a port in use never starts a job.
    listener = config.bind_socket()
    _Server(config, app.state.closing).run(sockets=[listener])


class _Server(uvicorn.Server):
    """Ends open event streams when asked to stop; they would hold the server otherwise."""

    def __init__(self, config: uvicorn.Config, closing: threading.Event) -> None:
        super().__init__(config)
        self._closing = closing

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Note the signal, as uvicorn does, and tell the streams."""
        self._closing.set()
        super().handle_exit(sig, frame)
