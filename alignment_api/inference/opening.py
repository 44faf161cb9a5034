"""Open the models and their servers for the lifetime of the application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from alignment_api.inference.gpus import ServerGpus
from alignment_api.inference.pool import ServerPool
from alignment_api.inference.service import InferenceService
from alignment_api.models.catalogue import Catalogue
from alignment_api.models.finished import FinishedJobs
from alignment_api.processes.devices import Devices
from alignment_api.settings import Settings
from alignment_api.store import Store


@asynccontextmanager
async def open_inference(
    app: FastAPI, store: Store, settings: Settings, devices: Devices
) -> AsyncIterator[None]:
    """Put `models` and `inference` into the application's state; stop all servers on exit."""
    app.state.models = Catalogue(FinishedJobs(store, settings), settings.cache_dir)
    pool = ServerPool(settings, ServerGpus(settings, devices, app.state.queue), app.state.closing)
    app.state.inference = InferenceService(settings, app.state.models, pool)
    pool.start()
    try:
        yield
    finally:
        await pool.close()
