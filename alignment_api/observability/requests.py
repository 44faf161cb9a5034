"""Give every request an id, a log line, and a count in the metrics."""

from __future__ import annotations

import asyncio
import logging
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from alignment_api.observability.context import REQUEST_ID, REQUEST_ID_HEADER, request_id_from
from alignment_api.observability.exchange import Exchange
from alignment_api.observability.http_metrics import HttpMetrics

logger = logging.getLogger("alignment_api.access")

_GONE = 499
"""nginx's status for a client that disconnected before the answer."""


class RequestLog:
    """ASGI middleware; must be the outermost, to see requests that the others refuse."""

    def __init__(self, app: ASGIApp, metrics: HttpMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on and record its outcome."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = request_id_from(Headers(scope=scope).get(REQUEST_ID_HEADER))
        scope.setdefault("state", {})["request_id"] = request_id
        # Not reset: after this returns, the server logs failures in the same task.
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
            # Starlette answers 500 outside this middleware.
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
