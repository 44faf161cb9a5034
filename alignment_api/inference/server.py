"""One model server, which answers OpenAI's requests for one base and adapters on it."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

import httpx

from alignment_api.errors import ModelServerError
from alignment_api.inference.gpus import Hold
from alignment_api.inference.launch import BASE_NAME, server_rank
from alignment_api.inference.process import ServerProcess
from alignment_api.models.entry import Adapter, Weights
from alignment_api.settings import Settings

logger = logging.getLogger(__name__)

_POLL_S = 0.1
_HEALTH_S = 5.0
_REAP_S = 3.0
_STOP_GRACE_S = 5.0
_BUSY_GRACE_S = 1.0
"""Grace period of a server that is still answering; it would wait for its answers to end."""
_SILENCE_S = 600.0
"""Seconds of silence after which a server is considered stuck."""


class ModelServer:
    """A model server and its loaded adapters. Belongs to one event loop.

    Attributes:
        base: folder of the server's base.
        hold: the server's GPU, held until it has stopped.
        leases: number of requests that use the server.
        used_at: monotonic time at which the last of them ended.
        is_retiring: True while the server is being stopped; it takes no more requests.
        started: task that finishes when the server answers, or fails with the reason why not.
    """

    def __init__(self, weights: Weights, settings: Settings, hold: Hold) -> None:
        """Start the server; see `ServerProcess`."""
        self.base = weights.base
        self.leases = 0
        self.used_at = time.monotonic()
        self.is_retiring = False
        self._dtype = weights.dtype
        self._rank = server_rank(weights.rank)
        self._is_broken = False
        self._loaded: set[str] = set()
        self._loading = asyncio.Lock()
        self.hold = hold
        self._process = ServerProcess(weights, settings, hold.share)
        self._client = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(
                uds=str(self._process.socket), limits=httpx.Limits(max_connections=None)
            ),
            base_url="http://model",
            timeout=httpx.Timeout(_SILENCE_S),
        )
        self.started = asyncio.create_task(self._wait(settings.inference_start_s))

    def fits(self, weights: Weights) -> bool:
        """Return whether the server can answer with these weights."""
        own = (self.base, self._dtype)
        return own == (weights.base, weights.dtype) and weights.rank <= self._rank

    @property
    def is_lost(self) -> bool:
        """Whether the server failed to start, or is known to have stopped answering."""
        if not self.started.done():
            return False
        if self._is_broken or self.started.cancelled() or self.started.exception() is not None:
            return True
        return self._process.exit_status() is not None

    async def check(self) -> None:
        """Update `is_lost` by asking the server."""
        self._is_broken = self._is_broken or not await self._is_well()

    async def name_of(self, adapter: Adapter | None) -> str:
        """Return the server's name for an adapter, after loading it if needed.

        Raises:
            ModelServerError: vLLM cannot load the adapter.
            httpx.TransportError: the server does not answer.
        """
        if adapter is None:
            return BASE_NAME
        async with self._loading:
            if adapter.key not in self._loaded:
                body = {"lora_name": adapter.key, "lora_path": str(adapter.folder)}
                answer = await self._client.post("/v1/load_lora_adapter", json=body)
                if answer.status_code != 200:
                    told = answer.text[:500]
                    raise await self.failure(f"vLLM does not load {adapter.folder}: {told}")
                self._loaded.add(adapter.key)
        return adapter.key

    def ask(self, path: str, body: bytes) -> Any:
        """Return a context manager for the response, whose body arrives as it is read."""
        headers = {"Content-Type": "application/json"}
        return self._client.stream("POST", path, content=body, headers=headers)

    async def failure(self, what: str) -> ModelServerError:
        """Return the error for a missing answer, with the reason as far as it is known."""
        how = ""
        if not await self._is_well():
            # Done before the server counts as lost and is stopped: its own exit status says more.
            status = await asyncio.to_thread(self._process.exit_status, _REAP_S)
            ended = "has stopped" if status is None else f"ended with status {status}"
            self._is_broken = True
            how = f"; its server {ended}, and the next request starts it again"
        return ModelServerError(f"{what}{how}. {self._process.log_tail()}")

    async def stop(self) -> None:
        """End the process and all its descendants."""
        self.is_retiring = True
        self.started.cancel()
        await asyncio.gather(self.started, return_exceptions=True)
        grace_s = _BUSY_GRACE_S if self.leases else _STOP_GRACE_S
        await asyncio.to_thread(self._process.stop, grace_s)
        await self._client.aclose()

    async def _wait(self, most_s: float) -> None:
        give_up_at = time.monotonic() + most_s
        while not await self._is_well(if_busy=False):
            if self._process.exit_status() is not None:
                raise await self.failure(f"{self.base.name} did not start")
            if time.monotonic() > give_up_at:
                raise ModelServerError(
                    f"{self.base.name} did not start within ESSA_INFERENCE_START_S = {most_s:g} s. "
                    f"{self._process.log_tail()}"
                )
            await asyncio.sleep(_POLL_S)
        logger.info("the server for %s answers", self.base)

    async def _is_well(self, *, if_busy: bool = True) -> bool:
        # vLLM's server may outlive its engine for a while; `/health` then reports it.
        try:
            return (await self._client.get("/health", timeout=_HEALTH_S)).status_code == 200
        except httpx.TimeoutException:
            return if_busy
        except httpx.TransportError:
            return False
