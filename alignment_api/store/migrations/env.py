"""Alembic's entry point: run every migration on the connection that `migration.py` provides."""

from __future__ import annotations

from alembic import context

from alignment_api.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # SQLite cannot alter a column in place, so Alembic copies the table.
    render_as_batch=True,
)
context.run_migrations()
