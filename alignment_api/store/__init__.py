"""The store: tables, migrations, and the connection that everything shares."""

from alignment_api.store.database import Store

__all__ = ["Store"]
