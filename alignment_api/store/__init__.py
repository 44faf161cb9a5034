"""The store: its tables, its migrations, and the shared connections."""

from alignment_api.store.database import Store

__all__ = ["Store"]
