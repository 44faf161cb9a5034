"""Run the service in this process until a signal stops it."""

from __future__ import annotations

import threading
from types import FrameType

import uvicorn
from fastapi import FastAPI


def serve(app: FastAPI, host: str, port: int) -> None:
    """Serve until SIGINT or SIGTERM.

    Raises:
        SystemExit: the port is in use; nothing was started.
    """
    config = uvicorn.Config(
        app, host, port, log_config=None, access_log=False, timeout_graceful_shutdown=5
    )
    # Bound before the queue starts, so that no job starts if the port is in use.
    listener = config.bind_socket()
    _Server(config, app.state.closing).run(sockets=[listener])


class _Server(uvicorn.Server):
    """Closes open event streams on shutdown, because they would keep the server alive."""

    def __init__(self, config: uvicorn.Config, closing: threading.Event) -> None:
        super().__init__(config)
        self._closing = closing

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Handle the signal as uvicorn does, and close the event streams."""
        self._closing.set()
        super().handle_exit(sig, frame)
