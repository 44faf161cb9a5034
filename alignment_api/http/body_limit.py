"""Refuse request bodies that are too large as they arrive, and those without a valid key unread."""

from __future__ import annotations

import anyio.to_thread
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from alignment_api.files.endpoints import UPLOAD_ROUTE
from alignment_api.http.error_handlers import known_error
from alignment_api.settings import Settings
from essa.errors import EssaError


class BodyLimit:
    """ASGI middleware that stops reading a body beyond its route's limit.

    An upload goes to disk as it arrives. Every other body is JSON, which takes several times its
    size in memory and is parsed in the event loop's thread.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count the body's bytes while it is read."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        name = "max_upload_bytes" if scope["path"] == UPLOAD_ROUTE else "max_body_bytes"
        most = getattr(self._settings, name)
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > most:
                raise HTTPException(413, f"the body is larger than ESSA_{name.upper()} = {most}")
            return message

        await self._app(scope, counted, send)


class KeyFirst:
    """ASGI middleware that lets a body under `/v1` be read only with a valid key.

    The endpoints check the key too, but only after the body has been read.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check the key of one request that has a body."""
        if scope["type"] != "http" or not scope["path"].startswith("/v1/") or not _has_body(scope):
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        address = request.client.host if request.client else "unknown"
        authorization = request.headers.get("authorization", "")
        try:
            await anyio.to_thread.run_sync(
                request.app.state.access.identified, authorization, address
            )
        except EssaError as error:
            answer = await known_error(request, error)
            await answer(scope, receive, send)
            return
        await self._app(scope, receive, send)


def _has_body(scope: Scope) -> bool:
    headers = Headers(scope=scope)
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"
