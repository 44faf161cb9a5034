"""The running model servers: started on demand, stopped when idle or when jobs need the GPU."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from alignment_api.errors import ModelServerError
from alignment_api.inference.gpus import ServerGpus
from alignment_api.inference.server import ModelServer
from alignment_api.models.entry import Weights
from alignment_api.settings import Settings

logger = logging.getLogger(__name__)

_LOOK_S = 0.25


class ServerPool:
    """Model servers by what they serve. Belongs to one event loop.

    Args:
        settings: number of servers and time limits.
        gpus: assigns GPUs to servers.
        closing: set when the service stops; waiting requests and streams then end.
    """

    def __init__(self, settings: Settings, gpus: ServerGpus, closing: threading.Event) -> None:
        self._settings = settings
        self._gpus = gpus
        self._closing = closing
        self._servers: list[ModelServer] = []
        self._changed = asyncio.Event()
        self._retirements: set[asyncio.Task[None]] = set()
        self._watch: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start watching the servers."""
        self._watch = asyncio.create_task(self._look())

    async def close(self) -> None:
        """Stop all servers."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        for server in self._servers:
            self._retire(server)
        await asyncio.gather(*self._retirements)

    @asynccontextmanager
    async def lease(self, weights: Weights) -> AsyncIterator[ModelServer]:
        """Yield a server for a base; it is not stopped as idle while the context lasts.

        Raises:
            ModelServerError: the server does not start, or there is no room for it within
                ESSA_INFERENCE_START_S.
            NotServedError: vLLM is not installed, or does not support these weights.
        """
        server = await self._sound(weights)
        try:
            await self._wait_for(server)
            yield server
        finally:
            self._release(server)

    async def _sound(self, weights: Weights) -> ModelServer:
        """Return a leased server that still answers."""
        while True:
            server = await self._held(weights)
            is_sound = False
            try:
                if server.started.done():
                    await server.check()
                is_sound = not server.is_lost
            finally:
                if not is_sound:
                    self._release(server)
            if is_sound:
                return server

    async def _held(self, weights: Weights) -> ModelServer:
        try:
            async with asyncio.timeout(self._settings.inference_start_s):
                while (server := self._fitting(weights)) is None:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise ModelServerError(
                f"there was no room for another model for {self._settings.inference_start_s:g} s: "
                f"all {self._settings.inference_servers} servers are in use. Ask again later, or "
                "raise ESSA_INFERENCE_SERVERS"
            ) from None
        server.leases += 1
        return server

    def _release(self, server: ModelServer) -> None:
        server.leases -= 1
        server.used_at = time.monotonic()
        if server.is_lost:
            self._retire(server)
        self._changed.set()

    def _fitting(self, weights: Weights) -> ModelServer | None:
        """Return a server for the weights, started if needed; None if another has to stop first."""
        if self._closing.is_set():
            raise ModelServerError("the service is stopping")
        for server in self._servers:
            if server.is_lost:
                self._retire(server)
        for server in self._servers:
            if server.fits(weights) and not server.is_retiring:
                return server
        if len(self._servers) < self._settings.inference_servers:
            return self._started(weights)
        idle = [one for one in self._servers if one.leases == 0 and not one.is_retiring]
        is_freeing = any(one.is_retiring for one in self._servers)
        if idle and not is_freeing:
            self._retire(min(idle, key=lambda one: one.used_at))
        return None

    def _started(self, weights: Weights) -> ModelServer:
        hold = self._gpus.take()
        try:
            server = ModelServer(weights, self._settings, hold)
        except BaseException:
            self._gpus.give_back(hold)
            raise
        self._servers.append(server)
        return server

    async def _wait_for(self, server: ModelServer) -> None:
        try:
            # A waiter that is cancelled must not cancel the start, which others may await too.
            await asyncio.shield(server.started)
        except ModelServerError:
            self._retire(server)
            raise
        except asyncio.CancelledError:
            if server.is_retiring and server.started.cancelled():
                raise ModelServerError("the service is stopping") from None
            raise

    def _retire(self, server: ModelServer) -> None:
        if not server.is_retiring:
            server.is_retiring = True
            task = asyncio.create_task(self._stopped(server))
            self._retirements.add(task)
            task.add_done_callback(self._retirements.discard)

    async def _stopped(self, server: ModelServer) -> None:
        try:
            await server.stop()
            logger.info("the server for %s has stopped", server.base)
        finally:
            self._servers.remove(server)
            self._gpus.give_back(server.hold)
            self._changed.set()

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            now = time.monotonic()
            for server in self._servers:
                is_idle = server.leases == 0 and server.started.done()
                is_old = is_idle and now - server.used_at > self._settings.inference_idle_s
                is_in_the_way = is_idle and bool(server.hold.slots) and self._gpus.are_wanted()
                if is_old or is_in_the_way or server.is_lost or self._closing.is_set():
                    self._retire(server)
