"""Every request gets an id, a line in the log, and its place in the metrics."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, field

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from alignment_api.observability.context import REQUEST_ID, REQUEST_ID_HEADER, request_id_from
from alignment_api.observability.http_metrics import HttpMetrics

logger = logging.getLogger("alignment_api.access")

_GONE = 499
"""nginx's status for a client that left before it was answered."""
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))


@dataclass
class Exchange:
    """One request and what became of it."""

    scope: Scope
    started_s: float = field(default_factory=time.perf_counter)
    status: int | None = None
    answered_s: float | None = None
    """When the answer began."""
    is_stream: bool = False
    """Whether the answer is an event stream."""

    @property
    def route(self) -> str:
        """Template of the route, so that the number of different ones is bounded."""
        return getattr(self.scope.get("route"), "path", None) or "unmatched"

    @property
    def method(self) -> str:
        """The method, or `OTHER`: a client may send any word."""
        method = self.scope["method"]
        return method if method in _METHODS else "OTHER"

    def begin(self, message: Message) -> None:
        """Note how the answer starts."""
        self.status = message["status"]
        self.answered_s = time.perf_counter()
        kind = Headers(raw=message["headers"]).get("content-type", "")
        self.is_stream = kind.startswith("text/event-stream")


class RequestLog:
    """ASGI middleware; the outermost one, so that it sees what the others refuse."""

    def __init__(self, app: ASGIApp, metrics: HttpMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on and note how it ends."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = request_id_from(Headers(scope=scope).get(REQUEST_ID_HEADER))
        scope.setdefault("state", {})["request_id"] = request_id
        # Not reset: the server logs what failed after this has returned, in the same task.
        REQUEST_ID.set(request_id)
        exchange = Exchange(scope)

        async def noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(raw=message["headers"])[REQUEST_ID_HEADER] = request_id
                exchange.begin(message)
                self._metrics.answered(exchange)
            await send(message)

        self._metrics.arrived(exchange)
        try:
            await self._app(scope, receive, noted)
        except asyncio.CancelledError:
            exchange.status = exchange.status or _GONE
            raise
        except Exception:
            # Starlette answers 500 outside of this.
            exchange.status = exchange.status or 500
            raise
        finally:
            exchange.status = exchange.status or _GONE
            self._metrics.ended(exchange)
            _write(exchange)


def _write(exchange: Exchange) -> None:
    ms = round(1000 * (time.perf_counter() - exchange.started_s), 1)
    scope = exchange.scope
    values: dict[str, object] = {
        "method": exchange.method,
        "route": exchange.route,
        "status": exchange.status,
        "ms": ms,
    }
    state = scope["state"]
    if "error_code" in state:
        values["error"] = state["error_code"]
    caller = state.get("caller")
    if caller is not None and caller.key_id is not None:
        values["key_id"] = caller.key_id
    if "job_id" in scope.get("path_params", {}):
        values["job_id"] = scope["path_params"]["job_id"]
    logger.info(
        "%s %s %s in %s ms", exchange.method, exchange.route, exchange.status, ms, extra=values
    )
