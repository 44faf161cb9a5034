"""What Alembic runs: every migration on the connection that `migration.py` hands over."""

from __future__ import annotations

from alembic import context

from alignment_api.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # SQLite cannot change a column in place; Alembic then copies the table.
    render_as_batch=True,
)
context.run_migrations()
