"""The database shared by the API process and the job processes: SQLite or PostgreSQL.

On SQLite, write-ahead logging lets readers continue while another process writes, and each change
is one immediate transaction. On PostgreSQL a change that depends on a row reads it `FOR UPDATE`
(SQLAlchemy's `with_for_update`, which SQLite ignores). So no two processes act on the same stale
row.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import URL, Connection, RowMapping, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DataError,
    IntegrityError,
    NoSuchModuleError,
    SQLAlchemyError,
)

from alignment_api.errors import DuplicateError, StoreError, UnstorableError
from alignment_api.store import migration
from essa.storage.faults import free_bytes, readable

BUSY_TIMEOUT_S = 30.0
_LITTLE_BYTES = 16 * 2**20
_POOLED = 10
"""Number of connections kept open to a database server."""


class Store:
    """A pool of connections, one per process. Thread-safe."""

    def __init__(self, url: str, *, is_migrating: bool = True) -> None:
        """Open the store.

        Args:
            url: `sqlite:///FILE` or `postgresql://USER:PASSWORD@HOST/DATABASE`.
            is_migrating: whether to create missing tables and migrate older ones; the service does,
                its job processes do not.
        Raises:
            StoreError: the store is not reachable, missing, or of an unsupported version.
        """
        self._url = _parsed(url)
        self.is_sqlite = self._url.get_backend_name() == "sqlite"
        self.shown_url = self._url.render_as_string(hide_password=True)
        with self._translated("cannot be opened"):
            if self.is_sqlite:
                _make_folder(self._url)
            self._engine = _engine(self._url, is_sqlite=self.is_sqlite)
            self._writing = self._engine.execution_options(is_writing=True)
            with self._engine.connect() as connection:
                if self.is_sqlite:
                    _switch_to_wal(connection)
            if is_migrating:
                migration.upgrade(self._engine, self.shown_url)
            else:
                migration.require_current(self._engine, self.shown_url)

    def read(self, query: sa.Executable) -> Sequence[RowMapping]:
        """Return all rows of one query."""
        with self._translated("does not work"), self._engine.connect() as connection:
            return connection.execute(query).mappings().all()

    @contextmanager
    def change(self) -> Iterator[Connection]:
        """Run one transaction, which is rolled back on an error.

        Raises:
            DuplicateError: a row with the same unique value exists.
            StoreError: the database failed.
        """
        with self._translated("does not work"), self._writing.begin() as connection:
            yield connection

    def as_json(self, column: sa.Column[str]) -> sa.ColumnElement[Any]:
        """Return a column of JSON texts as JSON, whose values are accessed by `[name]`."""
        # SQLite reads the text itself as JSON; there, a cast would turn it into a number.
        return (sa.type_coerce if self.is_sqlite else sa.cast)(column, sa.JSON)

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    @contextmanager
    def _translated(self, what: str) -> Iterator[None]:
        try:
            yield
        except IntegrityError as error:
            raise DuplicateError(f"the store {self.shown_url}: {_reason(error)}") from error
        except (DataError, OverflowError, UnicodeEncodeError) as error:
            raise UnstorableError(f"a value cannot be stored: {_reason(error)}") from error
        except (SQLAlchemyError, sqlite3.Error, OSError) as error:
            raise StoreError(
                f"the store {self.shown_url} {what}: {_reason(error)}{self._room()}; ESSA_HOME "
                "names its folder, or ESSA_DATABASE_URL another database"
            ) from error

    def _room(self) -> str:
        """Say how little space is left on the store's disk; empty if there is enough."""
        if not self.is_sqlite:
            return ""
        folder = Path(self._url.database or "").parent
        free = free_bytes(folder)
        return f" ({readable(free)} free in {folder})" if free < _LITTLE_BYTES else ""


def _parsed(url: str) -> URL:
    try:
        parsed = make_url(url)
        backend = parsed.get_backend_name()
    except (ArgumentError, NoSuchModuleError, ValueError) as error:
        raise StoreError(f"ESSA_DATABASE_URL cannot be read: {_reason(error)}") from error
    if backend in ("postgresql", "postgres"):
        return parsed.set(drivername="postgresql+psycopg")
    if backend == "sqlite" and parsed.database not in (None, "", ":memory:"):
        return parsed
    raise StoreError(
        f"ESSA_DATABASE_URL is {parsed.render_as_string()}; use sqlite:///FILE or "
        "postgresql://USER:PASSWORD@HOST/DATABASE"
    )


def _make_folder(url: URL) -> None:
    Path(url.database or "").parent.mkdir(parents=True, exist_ok=True)


def _engine(url: URL, *, is_sqlite: bool) -> sa.Engine:
    if not is_sqlite:
        return sa.create_engine(url, pool_pre_ping=True, pool_size=_POOLED, max_overflow=_POOLED)
    engine = sa.create_engine(
        url, connect_args={"timeout": BUSY_TIMEOUT_S, "check_same_thread": False}
    )
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_immediate)
    return engine


def _prepare_sqlite(connection: Any, _: Any) -> None:
    # The driver's own transactions would begin too late.
    connection.isolation_level = None
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA foreign_keys = ON")


def _begin_immediate(connection: Connection) -> None:
    is_writing = connection.get_execution_options().get("is_writing", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if is_writing else "BEGIN")


def _switch_to_wal(connection: Connection) -> None:
    # Here SQLite ignores its busy timeout while another process switches too.
    raw = connection.connection.driver_connection
    give_up_at = time.monotonic() + BUSY_TIMEOUT_S
    while raw is not None:
        try:
            raw.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            is_busy = error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
            if not is_busy or time.monotonic() > give_up_at:
                raise
            time.sleep(0.02)


def _reason(error: Exception) -> str:
    origin = getattr(error, "orig", None) or error
    return str(origin).partition("\n")[0] or type(origin).__name__
