"""A throw-away PostgreSQL server."""

from __future__ import annotations

import glob
import os
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg.sql import SQL, Identifier

_USER = "essa"
_START_TIMEOUT_S = 60.0


def find_programs() -> Path | None:
    """Folder of `initdb` and `postgres`; None where PostgreSQL is not installed."""
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"), key=_version)
    named = found[-1] if found else shutil.which("initdb")
    return Path(named).parent if named else None


class PostgresServer:
    """A running server, reached over a Unix socket in its folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def url(self, database: str) -> str:
        """Address of a database."""
        return f"postgresql://{_USER}@/{database}?host={self._folder}"

    def new_database(self, template: str | None = None) -> str:
        """Make a database and return its address.

        Args:
            template: address of a database to copy; nobody may be connected to it.
        """
        name = f"test_{uuid.uuid4().hex}"
        source = "template1" if template is None else template.partition("@/")[2].partition("?")[0]
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            names = Identifier(name), Identifier(source)
            connection.execute(SQL("CREATE DATABASE {} TEMPLATE {}").format(*names))
        return self.url(name)


@contextmanager
def postgres_server(programs: Path) -> Iterator[PostgresServer]:
    """Start a server and stop it at the end; what was in it is lost.

    Args:
        programs: folder of PostgreSQL's programs.
    """
    # The folder of pytest is closed to other users, and root may not run the server.
    with tempfile.TemporaryDirectory(prefix="essa-pg-") as name:
        folder = Path(name)
        user = "postgres" if os.geteuid() == 0 else None
        if user is not None:
            shutil.chown(folder, user)
        data = folder / "data"
        log = (folder / "server.log").open("wb")
        subprocess.run(
            [programs / "initdb", "-D", data, "-U", _USER, "-A", "trust", "-E", "UTF8",
             "--locale=C", "--no-sync"],
            check=True, user=user, stdout=log, stderr=log, cwd=folder,
        )  # fmt: skip
        process = subprocess.Popen(
            [programs / "postgres", "-D", data, "-k", folder, "-c", "listen_addresses=",
             "-c", "fsync=off", "-c", "max_connections=60"],
            user=user, stdout=log, stderr=log, cwd=folder, start_new_session=True,
        )  # fmt: skip
        server = PostgresServer(folder)
        try:
            _await(server, process, folder / "server.log")
            yield server
        finally:
            # A quick shutdown: it breaks connections that are still open.
            process.send_signal(signal.SIGINT)
            process.wait()
            log.close()


def _await(server: PostgresServer, process: subprocess.Popen[bytes], log: Path) -> None:
    give_up_at = time.monotonic() + _START_TIMEOUT_S
    while True:
        try:
            psycopg.connect(server.url("postgres"), connect_timeout=5).close()
            return
        except psycopg.OperationalError as error:
            if process.poll() is not None or time.monotonic() > give_up_at:
                raise RuntimeError(f"PostgreSQL did not start:\n{log.read_text()}") from error
            time.sleep(0.05)


def _version(path: str) -> float:
    try:
        return float(Path(path).parts[-3])
    except ValueError:
        return 0.0
