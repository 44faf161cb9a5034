"""Metrics of requests, counted as they arrive."""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from alignment_api.observability.exchange import Exchange
from alignment_api.openai.routes import ASKING_ROUTES

_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120)


class HttpMetrics:
    """Counts requests by the template of their route, never by their path."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "essa_http_requests",
            "Requests that ended. Status 499: the client left before it was answered.",
            ("method", "route", "status"),
            registry=registry,
        )
        self._seconds = Histogram(
            "essa_http_request_duration_seconds",
            "Seconds until the end of the answer; of an event stream, until its beginning.",
            ("method", "route"),
            buckets=_BUCKETS_S,
            registry=registry,
        )
        self._in_progress = Gauge(
            "essa_http_requests_in_progress",
            "Requests that have not ended, event streams included.",
            registry=registry,
        )
        self._viewers = Gauge("essa_sse_viewers", "Open event streams of jobs.", registry=registry)
        self._inference = Counter(
            "essa_inference_requests",
            "Requests to models that ended.",
            ("endpoint", "status"),
            registry=registry,
        )
        self._viewers.set(0)

    def arrived(self, exchange: Exchange) -> None:
        """Count a request that has arrived."""
        self._in_progress.inc()

    def answered(self, exchange: Exchange) -> None:
        """Count a request whose answer begins."""
        if _is_viewer(exchange):
            self._viewers.inc()

    def ended(self, exchange: Exchange) -> None:
        """Count a request that has ended, whatever its outcome."""
        self._in_progress.dec()
        if _is_viewer(exchange):
            self._viewers.dec()
        method, route, status = exchange.method, exchange.route, str(exchange.status)
        self._requests.labels(method, route, status).inc()
        if route in ASKING_ROUTES:
            self._inference.labels(route.removeprefix("/v1/"), status).inc()
        end_s = exchange.answered_s if exchange.is_stream else time.perf_counter()
        if end_s is not None:
            self._seconds.labels(method, route).observe(end_s - exchange.started_s)


def _is_viewer(exchange: Exchange) -> bool:
    return exchange.is_stream and exchange.route not in ASKING_ROUTES
