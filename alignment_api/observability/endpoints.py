"""`/metrics`, as Prometheus text or OpenMetrics, as the client prefers."""

from __future__ import annotations

import importlib.metadata

from fastapi import Depends, FastAPI, Request
from fastapi.responses import Response
from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    Info,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client.exposition import choose_encoder

from alignment_api.auth.access import allow
from alignment_api.observability.http_metrics import HttpMetrics
from alignment_api.observability.job_metrics import JobMetrics, SlotCounts
from alignment_api.observability.requests import RequestLog
from alignment_api.processes.ownership import DISTRIBUTION
from alignment_api.settings import Settings
from alignment_api.store import Store


def observe_requests(app: FastAPI, settings: Settings) -> None:
    """Give every request an id and a log line, and serve `/metrics`.

    Call it after all other middleware is added: the last one added is the outermost.
    """
    # One registry per app: two apps in one process must not count for each other.
    registry = CollectorRegistry()
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    version = importlib.metadata.version(DISTRIBUTION)
    Info("essa_build", "Version of the service.", registry=registry).info({"version": version})
    app.state.metrics = registry
    app.add_middleware(RequestLog, metrics=HttpMetrics(registry))
    if settings.metrics != "off":
        needed = [Depends(allow("read"))] if settings.metrics == "key" else []
        # Not in the OpenAPI document: the answer is not JSON, and not meant for API clients.
        app.add_api_route("/metrics", _metrics, include_in_schema=False, dependencies=needed)


def observe_jobs(app: FastAPI, store: Store, queue: SlotCounts, settings: Settings) -> None:
    """Add the metrics of jobs, once the store is open."""
    app.state.metrics.register(JobMetrics(store, queue, settings.home))


def _metrics(request: Request) -> Response:
    encode, content_type = choose_encoder(request.headers.get("accept", ""))
    return Response(encode(request.app.state.metrics), headers={"Content-Type": content_type})
