"""`essa serve`."""

from __future__ import annotations

import os
import sys

from alignment_api.cli.flags import Home


def run(*, host: str | None = None, port: str | None = None, home: Home = None) -> int:
    """Run the service in the foreground.

    Args:
        host: Address to listen on (default: 127.0.0.1).
        port: Port; 0 takes a free one (default: 8400).
    """
    from alignment_api.app import create_app
    from alignment_api.cli.server import serve
    from alignment_api.doctor.preflight import require_engines, require_home
    from alignment_api.observability.logs import configure_logging
    from alignment_api.processes.folder_lock import home_lock
    from alignment_api.processes.ownership import check_package_owners
    from alignment_api.settings import Settings

    settings = Settings.from_environment(os.environ, home=home, host=host, port=port)
    configure_logging(settings)
    check_package_owners()
    require_home(settings)
    require_engines(settings)
    with home_lock(settings.home) as lock:
        serve(create_app(settings, lock, _show_first_key), settings.host, settings.port)
    return 0


def _show_first_key(key: str) -> None:
    print(
        "There are no API keys yet. This one may do everything, and is shown this once:\n\n"
        f"    {key}\n\n"
        "Set ESSA_API_KEY to it; `essa keys` makes others.\n",
        file=sys.stderr,
        flush=True,
    )
