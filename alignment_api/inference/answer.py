"""Pass a server's answer on to the client, with the model's name as the client knows it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any, NamedTuple

import httpx
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from alignment_api.errors import ContextLengthError, ErrorBody, ModelServerError
from essa.errors import SpecError

_DATA = b"data: "
_DONE = b"[DONE]"
_END = b"\n\n"
_SHOWN = 500
_TOO_LONG = "input_tokens"
"""Parameter that vLLM blames for a prompt that is too long."""


class HeldStream(StreamingResponse):
    """An event stream that releases its resources however it ends, even if it never starts."""

    def __init__(self, events: AsyncIterator[bytes], held: AsyncExitStack) -> None:
        super().__init__(
            events,
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream, then release its resources."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._held.aclose()


async def renamed_events(
    upstream: httpx.Response, model: str, failure: Callable[[str], Awaitable[ModelServerError]]
) -> AsyncIterator[bytes]:
    """Yield the stream's events; if the server breaks off, the last one is an error.

    Args:
        upstream: the server's answer.
        model: model name that the client used.
        failure: makes the error for a server failure from its reason.
    """
    reason = "the answer broke off"
    try:
        async for event in _events(upstream):
            data = event.removeprefix(_DATA)
            if data in (event, _DONE):  # a comment, or the end of the stream
                yield event + _END
            if data == _DONE:
                return
            if data != event:
                value = json.loads(data)
                if "error" in value:
                    reason = value["error"]["message"]
                    break
                yield _event({**value, "model": model})
    except httpx.TransportError:
        pass
    error = await failure(reason)
    body = ErrorBody(message=error.message, type="server_error", code=error.code)
    yield _event({"error": body.model_dump()})


def renamed(content: bytes, model: str) -> dict[str, Any]:
    """Return a complete answer with the client's model name."""
    return {**json.loads(content), "model": model}


class Refusal(NamedTuple):
    """The server's reason for refusing a request, and the parameter that it blames."""

    reason: str
    param: str | None = None

    @classmethod
    def read(cls, content: bytes) -> Refusal:
        """Read the body of an answer whose status is not 200."""
        try:
            told = json.loads(content)["error"]
            return cls(told["message"], told.get("param"))
        except (ValueError, KeyError, TypeError):
            return cls(content.decode(errors="replace")[:_SHOWN])

    def error(self) -> SpecError:
        """Return the error for a request that was at fault."""
        if self.param == _TOO_LONG:
            return ContextLengthError(
                f"{self.reason} The operator's ESSA_INFERENCE_MAX_MODEL_LEN changes it",
                field="messages",
            )
        return SpecError(self.reason, field=self.param)


async def _events(upstream: httpx.Response) -> AsyncIterator[bytes]:
    rest = b""
    async for chunk in upstream.aiter_bytes():
        *events, rest = (rest + chunk).split(_END)
        for event in events:
            yield event


def _event(value: dict[str, Any]) -> bytes:
    # ASCII only: clients may break lines at U+2028 and the like, which JSON allows in strings.
    return _DATA + json.dumps(value).encode() + _END
