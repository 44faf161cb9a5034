"""`essa serve`."""

from __future__ import annotations

import argparse
import os
import sys
import threading
from types import FrameType

import uvicorn

from alignment_api.app import create_app
from alignment_api.doctor.preflight import require_engines, require_home
from alignment_api.observability.logs import configure_logging
from alignment_api.processes.folder_lock import home_lock
from alignment_api.processes.ownership import check_package_owners
from alignment_api.settings import Settings


class _Server(uvicorn.Server):
    """Ends open event streams when asked to stop; they would hold the server otherwise."""

    def __init__(self, config: uvicorn.Config, closing: threading.Event) -> None:
        super().__init__(config)
        self._closing = closing

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Note the signal, as uvicorn does, and tell the streams."""
        self._closing.set()
        super().handle_exit(sig, frame)


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGINT or SIGTERM."""
    settings = Settings.from_environment(
        os.environ, home=arguments.home, host=arguments.host, port=arguments.port
    )
    configure_logging(settings)
    check_package_owners()
    require_home(settings)
    require_engines(settings)
    with home_lock(settings.home) as lock:
        app = create_app(settings, lock, _show_first_key)
        config = uvicorn.Config(
            app,
            host=settings.host,
            port=settings.port,
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=5,
        )
        # Bound before the queue starts, so that a port in use never starts a job.
        listener = config.bind_socket()
        _Server(config, app.state.closing).run(sockets=[listener])
    return 0


def _show_first_key(key: str) -> None:
    print(
        "There are no API keys yet. This one may do everything, and is shown this once:\n\n"
        f"    {key}\n\n"
        "Set ESSA_API_KEY to it; `essa keys` makes others.\n",
        file=sys.stderr,
        flush=True,
    )
