"""Check the store without changing or creating it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from alignment_api.doctor.finding import Finding, failure, ok, warning

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from alignment_api.settings import Settings


def check_store(settings: Settings) -> Iterator[Finding]:
    """Check whether the store can be reached, and whether this program supports its version."""
    import sqlalchemy as sa
    from sqlalchemy.exc import SQLAlchemyError

    if settings.database_url is None and not settings.sqlite_path.exists():
        yield ok("store", f"{settings.sqlite_path}, to be made on the first start")
        return
    try:
        url = sa.make_url(settings.store_url)
        shown = url.render_as_string(hide_password=True)
        if url.get_backend_name() != "sqlite":
            url = url.set(drivername="postgresql+psycopg")
        engine = sa.create_engine(url)
        try:
            with engine.connect() as connection:
                yield from _version(connection, shown)
        finally:
            engine.dispose()
    except (SQLAlchemyError, OSError) as error:
        reason = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
        if settings.database_url is not None:
            advice = "check ESSA_DATABASE_URL, and that the server runs and lets this user in"
        else:
            advice = f"restore {settings.sqlite_path} from a backup, or set another ESSA_HOME"
        yield failure("store", f"cannot be read: {reason}", advice)


def _version(connection: Connection, shown: str) -> Iterator[Finding]:
    import sqlalchemy as sa
    from alembic.runtime.migration import MigrationContext

    from alignment_api.store import migration

    scripts = migration.scripts()
    head = scripts.get_current_head()
    found = MigrationContext.configure(connection).get_current_revision()
    known = {script.revision for script in scripts.walk_revisions()}
    other = "use the program that made it, or name another store: ESSA_HOME or ESSA_DATABASE_URL"
    if found == head:
        keys = connection.execute(sa.text("SELECT count(*) FROM api_keys")).scalar_one()
        yield ok("store", f"{shown}, version {found}, {keys} API keys")
    elif found in known:
        advice = "back it up; the next `essa serve` brings it up to date"
        yield warning("store", f"{shown} has version {found}, this program reads {head}", advice)
    elif found is not None:
        yield failure("store", f"{shown} has version {found}, this program reads {head}", other)
    elif "jobs" in sa.inspect(connection).get_table_names():
        yield failure("store", f"{shown} has tables of another program", other)
    else:
        yield ok("store", f"{shown} is empty; the first `essa serve` makes its tables")
