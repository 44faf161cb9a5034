"""Preconditions of the service: settings, file system, access, port, cluster."""

from __future__ import annotations

import difflib
import json
import socket
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import URLError

from alignment_api.doctor.finding import Finding, failure, ok, warning

if TYPE_CHECKING:
    from alignment_api.settings import Settings

_TIMEOUT_S = 5.0
_OF_CLIENTS = ("ESSA_URL", "ESSA_API_KEY")
_SHARED_FILE_SYSTEMS = ("nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "9p", "lustre")


def check_variables(environment: Mapping[str, str]) -> Iterator[Finding]:
    """Check whether every ESSA_ variable is a setting: a misspelt one would be ignored silently."""
    from alignment_api.settings import PREFIX, SECRET_PREFIX, Settings

    known = [PREFIX + name.upper() for name in Settings.model_fields] + [*_OF_CLIENTS]
    for name in sorted(environment):
        if name.startswith(PREFIX) and not name.startswith(SECRET_PREFIX) and name not in known:
            near = difflib.get_close_matches(name, known, 1)
            advice = f"did you mean {near[0]}?" if near else "remove it, or see docs/OPERATE.md"
            yield warning(f"variable {name}", "is no setting", advice)


def check_file_system(settings: Settings, mounts: Path = Path("/proc/mounts")) -> Iterator[Finding]:
    """Check for network file systems: SQLite's log needs memory shared by all processes."""
    if settings.database_url is not None or not mounts.exists():
        return
    lines = [line.split() for line in mounts.read_text(encoding="utf-8").splitlines()]
    under = [words for words in lines if settings.home.is_relative_to(words[1])]
    kind = max(under, key=lambda words: len(words[1]))[2] if under else ""
    if kind in _SHARED_FILE_SYSTEMS:
        yield failure(
            "file system",
            f"{settings.home} lies on {kind}, where SQLite loses data",
            "set ESSA_HOME to a local disk, or ESSA_DATABASE_URL to a PostgreSQL",
        )


def check_access(settings: Settings) -> Iterator[Finding]:
    """Report who may use the service."""
    if settings.auth == "off":
        advice = "set ESSA_AUTH=on unless you are the only one on this machine"
        yield warning("auth", "off: whoever reaches the port may do everything", advice)
    else:
        yield ok("auth", "requests need a key")


def check_port(settings: Settings) -> Iterator[Finding]:
    """Check whether the service can listen on its port, or already does."""
    place = f"{settings.host}:{settings.port}"
    try:
        found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0]
        with socket.socket(found[0], socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(found[4])
    except socket.gaierror as error:
        yield failure(
            "port", f"{place}: {error.strerror}", "set ESSA_HOST to an address of this machine"
        )
        return
    except PermissionError as error:
        yield failure("port", f"{place}: {error.strerror}", "set ESSA_PORT to 1024 or more")
        return
    except OSError as error:
        if _is_our_service(settings):
            yield ok("port", f"the service runs at {place}")
            return
        yield failure(
            "port",
            f"{place}: {error.strerror}",
            "stop the program that has it (`ss -ltnp` names it), or set ESSA_PORT to another",
        )
        return
    yield ok("port", f"{place} is free")


def _is_our_service(settings: Settings) -> bool:
    host = settings.host if settings.host not in ("0.0.0.0", "::") else "127.0.0.1"
    host = f"[{host}]" if ":" in host else host
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://{host}:{settings.port}/healthz", timeout=_TIMEOUT_S) as answer:
            return "queued_jobs" in json.load(answer)
    except (URLError, OSError, ValueError):
        return False


def check_ray(settings: Settings) -> Iterator[Finding]:
    """Check whether the configured Ray cluster answers."""
    address = settings.ray_address
    if address is None:
        yield ok("ray", "no cluster is named: a job starts Ray on this machine")
        return
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), _TIMEOUT_S):
            pass
    except (OSError, OverflowError) as error:
        yield failure(
            "ray",
            f"{address} does not answer: {error}",
            f"start it there with `ray start --head --port={port}`, open the port, or unset "
            "ESSA_RAY_ADDRESS to run engines on this machine",
        )
    else:
        yield ok("ray", f"{address} answers")
