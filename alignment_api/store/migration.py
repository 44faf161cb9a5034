"""Migrate the tables of a store with Alembic."""

from __future__ import annotations

import threading
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from alignment_api.errors import StoreError

_SCRIPTS = Path(__file__).parent / "migrations"
_LOCK_NUMBER = 0x65737361
"""Arbitrary lock number, which no other program on the same database should use."""
_one_at_a_time = threading.Lock()
"""Serialises migrations, because Alembic keeps the running one in a global."""


def upgrade(engine: sa.Engine, shown_url: str) -> None:
    """Create or migrate the tables.

    Raises:
        StoreError: the database has other tables, or those of a newer version.
    """
    config = _config()
    with _one_at_a_time, engine.execution_options(is_writing=True).begin() as connection:
        if connection.dialect.name == "postgresql":
            # Held until the end of the transaction; SQLite's is exclusive from its start.
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK_NUMBER)))
        known = {script.revision for script in scripts().walk_revisions()}
        found = MigrationContext.configure(connection).get_current_revision()
        if found is not None and found not in known:
            raise _foreign(shown_url, f"version {found}")
        if found is None and "jobs" in sa.inspect(connection).get_table_names():
            raise _foreign(shown_url, "tables without a version")
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def require_current(engine: sa.Engine, shown_url: str) -> None:
    """Check that the tables have this program's version.

    Raises:
        StoreError: the tables have another version.
    """
    head = scripts().get_current_head()
    with engine.connect() as connection:
        found = MigrationContext.configure(connection).get_current_revision()
    if found != head:
        raise _foreign(shown_url, f"version {found}")


def scripts() -> ScriptDirectory:
    """Return the migrations of this program."""
    return ScriptDirectory.from_config(_config())


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    return config


def _foreign(shown_url: str, what: str) -> StoreError:
    head = scripts().get_current_head()
    return StoreError(
        f"the store {shown_url} has {what}, this program reads version {head}; name another folder "
        "with ESSA_HOME, or another database with ESSA_DATABASE_URL"
    )
