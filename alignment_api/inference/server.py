"""One model server: a child process that answers OpenAI's requests for one base."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

from alignment_api.devices import Share
from alignment_api.errors import ModelServerError
from alignment_api.inference.launch import BASE_NAME, server_command, server_rank, threads
from alignment_api.job_child import JobChild
from alignment_api.models.entry import Adapter, Weights
from alignment_api.settings import Settings

logger = logging.getLogger(__name__)

_POLL_S = 0.1
_STOP_GRACE_S = 5.0
_BUSY_GRACE_S = 1.0
"""For one that still answers: it would wait for the end of its answers."""
_SILENCE_S = 600.0
"""A server that says nothing for so long is taken for stuck."""
_LOG_LINES = 12
_LOG_TAIL_BYTES = 8192
_REAP_S = 1.0


class ModelServer:
    """A server and the adapters it has loaded. Belongs to one event loop.

    It listens at a socket in a folder that only this user may enter: vLLM's API key would leave
    some of its routes open.

    Attributes:
        leases: requests that use it.
        used_at: monotonic time of the last of them.
        is_retiring: it is being stopped, and takes no more requests.
    """

    def __init__(self, weights: Weights, settings: Settings) -> None:
        self.leases = 0
        self.used_at = time.monotonic()
        self.is_retiring = False
        self.base = weights.base
        self._dtype = weights.dtype
        self._rank = server_rank(weights.rank)
        self._settings = settings
        self._folder = Path(tempfile.mkdtemp(prefix="essa-"))
        socket = self._folder / "s"
        try:
            self._command = server_command(settings, weights, socket)
        except BaseException:
            self._folder.rmdir()
            raise
        self._log = settings.inference_dir / f"{weights.base.name}.log"
        self._is_broken = False
        self._loaded: set[str] = set()
        self._loading = asyncio.Lock()
        self._client = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(uds=str(socket)),
            base_url="http://model",
            timeout=httpx.Timeout(_SILENCE_S, connect=30.0, pool=None),
            limits=httpx.Limits(max_connections=None),
        )
        self._child = self._launched(server_command(settings, weights, socket))
        self.started: asyncio.Task[None] = asyncio.create_task(self._start())

    def fits(self, weights: Weights) -> bool:
        """Whether it can answer with these weights."""
        own = (self.base, self._dtype)
        return own == (weights.base, weights.dtype) and weights.rank <= self._rank

    @property
    def is_lost(self) -> bool:
        """Whether it did not start, or is known to answer no more."""
        if not self.started.done():
            return False
        if self._is_broken:
            return True
        return self.started.cancelled() or self.started.exception() is not None or self._has_ended()

    async def check(self) -> None:
        """Find out whether it still answers: vLLM's server may outlive its engine for a while."""
        try:
            status = (await self._client.get("/health", timeout=_HEALTH_S)).status_code
        except httpx.TimeoutException:
            return  # busy
        except httpx.TransportError:
            status = 503
        self._is_broken = self._is_broken or status != 200

    async def name_of(self, adapter: Adapter | None) -> str:
        """What the server calls an adapter, which is loaded where it is not yet.

        Raises:
            ModelServerError: vLLM does not take the adapter.
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
                    raise await self.failure(f"{adapter.folder} cannot be loaded: {told}")
                self._loaded.add(adapter.key)
        return adapter.key

    def ask(self, path: str, body: bytes) -> Any:
        """Context manager of the answer to a request, whose body arrives as it is read."""
        headers = {"Content-Type": "application/json"}
        return self._client.stream("POST", path, content=body, headers=headers)

    async def failure(self, what: str) -> ModelServerError:
        """The error for a server that failed, with the end of its log."""
        await self.check()
        how = ""
        if self._is_broken:
            status = await asyncio.to_thread(self._child.exit_status, _REAP_S)
            ended = "has stopped" if status is None else f"ended with status {status}"
            how = f"; its server {ended}, and the next request starts it again"
        return ModelServerError(f"{what}{how}. The end of {self._log}:\n{self._log_tail()}")

    async def stop(self) -> None:
        """End the process and everything it has started."""
        self.is_retiring = True
        self.started.cancel()
        await asyncio.gather(self.started, return_exceptions=True)
        if self._child is not None:
            grace_s = _BUSY_GRACE_S if self.leases else _STOP_GRACE_S
            await asyncio.to_thread(self._child.stop, grace_s)
        await self._client.aclose()
        shutil.rmtree(self._folder, ignore_errors=True)

    async def _start(self) -> None:
        self._log.parent.mkdir(parents=True, exist_ok=True)
        if self._log.exists():
            self._log.replace(self._log.with_suffix(".previous.log"))
        guard = [sys.executable, "-m", "alignment_api.inference.guard"]
        given = ["--parent", str(os.getpid()), "--threads", str(threads(self._settings))]
        self._child = JobChild([*guard, *given, *self._command], self._log, Share())
        logger.info("a server for %s starts; its log is %s", self.base, self._log)
        give_up_at = time.monotonic() + self._settings.inference_start_s
        while not await self._answers():
            if self._has_ended():
                raise await self.failure(f"the server for {self.base.name} did not start")
            if time.monotonic() > give_up_at:
                raise ModelServerError(
                    f"the server for {self.base.name} did not start within ESSA_INFERENCE_START_S "
                    f"= {self._settings.inference_start_s:g} s; the end of {self._log}:\n"
                    f"{self._log_tail()}"
                )
            await asyncio.sleep(_POLL_S)
        logger.info("the server for %s answers", self.base)

    def _has_ended(self) -> bool:
        return self._child is not None and self._child.exit_status() is not None

    async def _answers(self) -> bool:
        try:
            return (await self._client.get("/health", timeout=5.0)).status_code == 200
        except httpx.TransportError:
            return False

    def _log_tail(self) -> str:
        with self._log.open("rb") as file:
            file.seek(max(0, self._log.stat().st_size - _LOG_TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
        return "\n".join(lines[-_LOG_LINES:])
