"""A record of every request that writes."""

from __future__ import annotations

import logging
import time

import anyio.to_thread
import sqlalchemy as sa
from sqlalchemy.engine import RowMapping
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from alignment_api.errors import StoreError, UnstorableError
from alignment_api.openai.routes import ASKING_ROUTES
from alignment_api.store import Store
from alignment_api.store.tables import ADDRESS_CHARS, audit
from alignment_api.store.text import storable

logger = logging.getLogger(__name__)

_READS = ("GET", "HEAD", "OPTIONS")


class AuditRepository:
    """Adds and reads entries; nothing changes or removes them."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def add(self, **entry: object) -> None:
        """Add one entry; the keywords are the table's columns."""
        with self._store.change() as connection:
            connection.execute(sa.insert(audit).values(at=time.time(), **entry))

    def page(self, limit: int, before: int | None) -> list[RowMapping]:
        """Return up to `limit` entries numbered below `before`, newest first."""
        query = sa.select(audit).order_by(audit.c.number.desc()).limit(limit)
        if before is not None:
            query = query.where(audit.c.number < before)
        return list(self._store.read(query))


class AuditTrail:
    """ASGI middleware that adds an entry after every writing request under `/v1`.

    Refused requests are recorded too: who tried what, and with which key, is worth knowing.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and record how it ended."""
        if not _is_write(scope):
            await self._app(scope, receive, send)
            return
        status = 500

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            await anyio.to_thread.run_sync(_record, Request(scope), status)


def _is_write(scope: Scope) -> bool:
    if scope["type"] != "http" or scope["method"] in _READS:
        return False
    return scope["path"].startswith("/v1/") and scope["path"] not in ASKING_ROUTES


def _record(request: Request, status: int) -> None:
    caller = getattr(request.state, "caller", None)
    entry = {
        "project_id": caller.project_id if caller else None,
        "key_id": caller.key_id if caller else None,
        "request_id": request.state.request_id,
        # Clients choose the action and, behind a proxy, the address; neither may break the entry.
        "action": storable(f"{request.method} {request.url.path}"),
        "status": status,
        "address": storable(request.client.host)[:ADDRESS_CHARS] if request.client else None,
    }
    try:
        request.app.state.audit.add(**entry)
    except (StoreError, UnstorableError):
        # The response has been sent; the log keeps the entry that the store could not.
        logger.exception("not audited: %s", entry)
