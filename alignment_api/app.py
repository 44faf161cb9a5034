"""The FastAPI application."""

from __future__ import annotations

import importlib.metadata
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio.to_thread
from fastapi import FastAPI
from fastapi.responses import FileResponse

from alignment_api import health
from alignment_api.auth import endpoints as auth_endpoints
from alignment_api.auth.access import open_access
from alignment_api.auth.audit import AuditRepository, AuditTrail
from alignment_api.auth.keys import KeyRepository
from alignment_api.body_limit import BodyLimit
from alignment_api.error_handlers import install_error_handlers
from alignment_api.files import endpoints as file_endpoints
from alignment_api.files.repository import FileRepository
from alignment_api.files.service import FileService
from alignment_api.graders import endpoints as grader_endpoints
from alignment_api.graders.service import GraderService
from alignment_api.home import FolderLock, home_lock
from alignment_api.jobs import endpoints as job_endpoints
from alignment_api.jobs.service import JobService
from alignment_api.ownership import DISTRIBUTION
from alignment_api.queue import JobQueue
from alignment_api.records import endpoints as record_endpoints
from alignment_api.settings import Settings
from alignment_api.store import Store

_STATIC = Path(__file__).parent / "static"


def create_app(
    settings: Settings,
    lock: FolderLock | None = None,
    on_first_key: Callable[[str], None] | None = None,
) -> FastAPI:
    """Build the service. Its store is opened, and its queue started, when it starts up.

    Args:
        settings: where and how to run.
        lock: the home's lock, if the caller holds it already.
        on_first_key: told the key that is made where there is none; without it, none is made.
    """
    app = FastAPI(
        title="ESSA Service",
        version=importlib.metadata.version(DISTRIBUTION),
        lifespan=_lifespan,
        docs_url="/docs",
    )
    app.state.settings = settings
    app.state.lock = lock or home_lock(settings.home)
    app.state.closing = threading.Event()
    app.state.on_first_key = on_first_key
    install_error_handlers(app)
    app.add_middleware(AuditTrail)
    app.add_middleware(BodyLimit, max_bytes=settings.max_upload_bytes)
    app.include_router(job_endpoints.router)
    app.include_router(file_endpoints.router)
    app.include_router(grader_endpoints.router)
    app.include_router(record_endpoints.router)
    app.include_router(auth_endpoints.router)
    app.include_router(health.router)
    app.add_api_route("/", _page, include_in_schema=False)
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
    queue = JobQueue(store, settings)
    files = FileService(FileRepository(store), settings.files_dir)
    app.state.store = store
    app.state.queue = queue
    app.state.files = files
    app.state.graders = GraderService(settings)
    app.state.jobs = JobService(store, settings, files.resolve, queue.notify)
    queue.start()
    try:
        yield
    finally:
        app.state.closing.set()
        await anyio.to_thread.run_sync(queue.stop)
        store.close()
        app.state.lock.release()


def _page() -> FileResponse:
    return FileResponse(_STATIC / "index.html", headers={"Cache-Control": "no-cache"})
