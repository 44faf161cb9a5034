"""Queries to the models of a project."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import Any

import httpx
from fastapi import Request, Response
from fastapi.responses import JSONResponse

from alignment_api.errors import ModelServerError, NotServedError, RateLimitError
from alignment_api.inference.answer import HeldStream, Refusal, renamed, renamed_events
from alignment_api.inference.pool import ServerPool
from alignment_api.inference.requests import MOST_CHOICES, CompletionsRequest
from alignment_api.models.catalogue import Catalogue
from alignment_api.models.entry import Weights
from alignment_api.settings import Settings
from essa.errors import SpecError

_OK = 200
_CLIENT_GONE = 499
_SERVER_ERROR = 500
_RETRY_AFTER_S = 1.0


class InferenceService:
    """Forwards requests to the server of their model, and passes the answers back.

    Args:
        settings: limits on requests.
        models: finds models by name.
        pool: the model servers.
    """

    def __init__(self, settings: Settings, models: Catalogue, pool: ServerPool) -> None:
        self._settings = settings
        self._models = models
        self._pool = pool
        self._running = 0

    async def answer(
        self, request: Request, path: str, wanted: CompletionsRequest, project_id: str
    ) -> Response:
        """Answer one request. If the client disconnects, its work is cancelled.

        Args:
            request: the client's request, whose body has been read.
            path: route on the server.
            wanted: the parsed body.
            project_id: project that must have the model.
        Raises:
            SpecError: the request asks for too much, or vLLM refuses it.
            ModelNotFoundError: no such model.
            NotServedError: this service cannot run the model.
            RateLimitError: ESSA_INFERENCE_REQUESTS requests are already running.
            ModelServerError: the model's server did not start, or stopped.
        """
        self._check(wanted)
        held = AsyncExitStack()
        response = None
        try:
            held.enter_context(self._counted())
            work = self._answered(held, path, wanted, project_id)
            response = await _unless_gone(request, work)
        finally:
            if not isinstance(response, HeldStream):
                await held.aclose()
        return response or Response(status_code=_CLIENT_GONE)

    async def _answered(
        self, held: AsyncExitStack, path: str, wanted: CompletionsRequest, project_id: str
    ) -> Response:
        weights = await asyncio.to_thread(self._weights, wanted.model, project_id)
        server = await held.enter_async_context(self._pool.lease(weights))

        async def failure(reason: str) -> ModelServerError:
            return await server.failure(f"'{wanted.model}' did not answer: {reason}")

        try:
            name = await server.name_of(weights.adapter)
            upstream = await held.enter_async_context(server.ask(path, wanted.forwarded(name)))
            if wanted.stream and upstream.status_code == _OK:
                return HeldStream(renamed_events(upstream, wanted.model, failure), held)
            content = await upstream.aread()
        except httpx.TransportError as error:
            raise await failure("its server broke off") from error
        if upstream.status_code >= _SERVER_ERROR:
            raise await failure(Refusal.read(content).reason)
        if upstream.status_code != _OK:
            raise Refusal.read(content).error()
        return JSONResponse(renamed(content, wanted.model))

    def _weights(self, model: str, project_id: str) -> Weights:
        return self._models.find(model, project_id).weights()

    def _check(self, wanted: CompletionsRequest) -> None:
        settings = self._settings
        if settings.inference == "off":
            raise NotServedError("the operator has turned inference off: ESSA_INFERENCE is off")
        most = settings.inference_max_tokens
        if (wanted.tokens or 0) > most:
            raise SpecError(
                f"max_tokens is {wanted.tokens}; the most is ESSA_INFERENCE_MAX_TOKENS = {most}",
                field="max_tokens",
            )
        if wanted.n * wanted.prompts > MOST_CHOICES:
            raise SpecError(
                f"n is {wanted.n} with {wanted.prompts} prompts; a request may ask for "
                f"{MOST_CHOICES} answers in all",
                field="n",
            )

    @contextmanager
    def _counted(self) -> Iterator[None]:
        most = self._settings.inference_requests
        if self._running >= most:
            raise RateLimitError(
                f"{most} requests to models are under way, which is ESSA_INFERENCE_REQUESTS; try "
                "again when one has ended",
                retry_after_s=_RETRY_AFTER_S,
            )
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1


async def _unless_gone(request: Request, work: Coroutine[Any, Any, Response]) -> Response | None:
    """Return the result of `work`, or None if the client disconnects first."""
    task = asyncio.create_task(work)
    gone = asyncio.create_task(_gone(request))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        for one in (task, gone):
            one.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
