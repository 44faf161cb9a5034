"""The FastAPI application."""

from __future__ import annotations

import importlib.metadata
import os
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio.to_thread
from fastapi import FastAPI

from alignment_api.auth import endpoints as auth_endpoints
from alignment_api.auth.access import open_access
from alignment_api.auth.audit import AuditRepository, AuditTrail
from alignment_api.auth.keys import KeyRepository
from alignment_api.comparisons import endpoints as comparison_endpoints
from alignment_api.comparisons.service import ComparisonService
from alignment_api.events import endpoints as event_endpoints
from alignment_api.events.feed import EventHub
from alignment_api.events.service import JobEventService
from alignment_api.execution.queue import JobQueue
from alignment_api.exports import endpoints as export_endpoints
from alignment_api.exports.service import ExportService
from alignment_api.files import endpoints as file_endpoints
from alignment_api.files.repository import FileRepository
from alignment_api.files.service import FileService
from alignment_api.graders import endpoints as grader_endpoints
from alignment_api.graders.service import GraderService
from alignment_api.http import health
from alignment_api.http.body_limit import BodyLimit, KeyFirst
from alignment_api.http.dashboard import add_pages
from alignment_api.http.error_handlers import install_error_handlers
from alignment_api.http.openapi import install_openapi
from alignment_api.inference import endpoints as inference_endpoints
from alignment_api.inference.opening import open_inference
from alignment_api.jobs import endpoints as job_endpoints
from alignment_api.jobs.service import JobService
from alignment_api.models import endpoints as model_endpoints
from alignment_api.observability.endpoints import observe_jobs, observe_requests
from alignment_api.processes.devices import find_devices
from alignment_api.processes.folder_lock import FolderLock, home_lock
from alignment_api.processes.ownership import DISTRIBUTION
from alignment_api.records import endpoints as record_endpoints
from alignment_api.settings import Settings
from alignment_api.store import Store


def create_app(
    settings: Settings,
    lock: FolderLock | None = None,
    on_first_key: Callable[[str], None] | None = None,
) -> FastAPI:
    """Build the service. Its startup opens the store and starts the queue.

    Args:
        settings: the service's settings.
        lock: the home's lock, if the caller holds it already.
        on_first_key: called with the key made for a store without keys; if None, none is made.
    """
    app = FastAPI(
        title="ESSA Service",
        version=importlib.metadata.version(DISTRIBUTION),
        lifespan=_lifespan,
        # FastAPI's pages load scripts from other hosts; docs/API.md and /openapi.json do not.
        docs_url=None,
        redoc_url=None,
    )
    app.state.settings = settings
    app.state.lock = lock or home_lock(settings.home)
    app.state.closing = threading.Event()
    app.state.on_first_key = on_first_key
    install_error_handlers(app)
    app.add_middleware(KeyFirst)
    app.add_middleware(AuditTrail)
    app.add_middleware(BodyLimit, settings=settings)
    observe_requests(app, settings)
    app.include_router(job_endpoints.router)
    app.include_router(event_endpoints.router)
    app.include_router(file_endpoints.router)
    app.include_router(grader_endpoints.router)
    app.include_router(record_endpoints.router)
    app.include_router(comparison_endpoints.router)
    app.include_router(export_endpoints.router)
    app.include_router(model_endpoints.router)
    app.include_router(inference_endpoints.router)
    app.include_router(auth_endpoints.router)
    app.include_router(health.router)
    add_pages(app)
    install_openapi(app)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    settings: Settings = app.state.settings
    app.state.lock.acquire()
    store = Store(settings.store_url)
    keys = KeyRepository(store)
    app.state.keys = keys
    app.state.audit = AuditRepository(store)
    app.state.access = open_access(settings, keys, app.state.on_first_key)
    devices = find_devices(settings.engine_slots, os.environ)
    queue = JobQueue(store, settings, devices)
    files = FileService(FileRepository(store), settings.files_dir)
    app.state.store = store
    app.state.queue = queue
    app.state.files = files
    app.state.graders = GraderService(settings)
    app.state.jobs = JobService(store, settings, files, devices, queue.notify)
    app.state.comparisons = ComparisonService(
        store, settings, app.state.jobs, devices.slots, queue.notify
    )
    app.state.job_events = JobEventService(store)
    app.state.hub = EventHub(app.state.job_events.read, settings.poll_s, app.state.closing)
    observe_jobs(app, store, queue, settings)
    app.state.exports = ExportService(settings)
    app.state.exports.start()
    queue.start()
    try:
        async with open_inference(app, store, settings, devices):
            yield
    finally:
        app.state.closing.set()
        await anyio.to_thread.run_sync(app.state.exports.stop)
        await anyio.to_thread.run_sync(queue.stop)
        store.close()
        app.state.lock.release()
