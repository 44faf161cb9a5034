"""The SQLite store that the API process and the job processes share.

Write-ahead logging lets readers go on while another process writes. Every change is one immediate
transaction, so two processes never decide on the same stale row.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alignment_api.errors import StoreError

STORE_VERSION = 1
BUSY_TIMEOUT_S = 30.0

_TABLES = (
    """CREATE TABLE jobs (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        name TEXT NOT NULL,
        status TEXT NOT NULL
            CHECK (status IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')),
        created_at REAL NOT NULL,
        started_at REAL,
        finished_at REAL,
        starts INTEGER NOT NULL DEFAULT 0,
        cancel_requested_at REAL,
        error_code TEXT,
        error_message TEXT,
        spec TEXT NOT NULL,
        result TEXT
    )""",
    "CREATE INDEX jobs_by_status ON jobs (status, number)",
    """CREATE TABLE events (
        job_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
        seq INTEGER NOT NULL,
        type TEXT NOT NULL,
        created_at REAL NOT NULL,
        data TEXT NOT NULL,
        PRIMARY KEY (job_id, seq)
    )""",
    "CREATE INDEX events_by_type ON events (job_id, type, seq)",
    """CREATE TABLE files (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        filename TEXT NOT NULL,
        bytes INTEGER NOT NULL,
        rows INTEGER NOT NULL,
        sha256 TEXT NOT NULL,
        created_at REAL NOT NULL
    )""",
)


class Store:
    """One connection to the store. Safe to share between threads; one per process."""

    def __init__(self, path: Path) -> None:
        """Open the store, creating it where there is none.

        Raises:
            StoreError: not a store, of another version, or the folder cannot be written.
        """
        self.path = path
        self._lock = threading.RLock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(
                path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
            )
            self._connection.row_factory = sqlite3.Row
            self._prepare()
        except (OSError, sqlite3.Error) as error:
            raise StoreError(
                f"the store {path} cannot be opened: {error}; ESSA_HOME names its folder"
            ) from error

    def read(self, query: str, values: Sequence[Any] = ()) -> list[sqlite3.Row]:
        """All rows of one query."""
        with self._lock:
            return self._connection.execute(query, values).fetchall()

    @contextmanager
    def change(self) -> Iterator[sqlite3.Connection]:
        """One transaction that holds the write lock from its start; rolled back on an error."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._connection.close()

    def _prepare(self) -> None:
        self._switch_to_wal()
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.execute("PRAGMA foreign_keys = ON")
        with self.change() as connection:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                for statement in _TABLES:
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {STORE_VERSION}")
            elif version != STORE_VERSION:
                raise StoreError(
                    f"the store {self.path} has version {version}, this service reads "
                    f"{STORE_VERSION}; name another folder with ESSA_HOME"
                )

    def _switch_to_wal(self) -> None:
        # SQLite does not wait for its busy timeout here while another process switches too.
        give_up_at = time.monotonic() + BUSY_TIMEOUT_S
        while True:
            try:
                self._connection.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError:
                if time.monotonic() > give_up_at:
                    raise
                time.sleep(0.02)
