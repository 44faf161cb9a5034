"""A server's answer on its way to the client, with the model called as the client calls it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import httpx
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from alignment_api.errors import ContextLengthError, ErrorBody, ModelServerError
from essa.errors import EssaError, SpecError

_DATA = b"data: "
_DONE = b"[DONE]"
_TOO_LONG = "input_tokens"
"""Parameter that vLLM blames for a prompt that does not fit."""


class HeldStream(StreamingResponse):
    """An event stream that lets go of what it holds however it ends, or if it never begins."""

    def __init__(self, events: AsyncIterator[bytes], held: AsyncExitStack) -> None:
        super().__init__(
            events,
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._held.aclose()


async def renamed_events(
    upstream: httpx.Response, model: str, failure: Callable[[str], Awaitable[ModelServerError]]
) -> AsyncIterator[bytes]:
    """Events of a stream; where the server breaks off, the last one is an error.

    Args:
        upstream: the server's answer.
        model: what the client calls the model.
        failure: makes the error for a server that said this last.
    """
    rest, reason = b"", "the answer broke off"
    try:
        async for chunk in upstream.aiter_bytes():
            *events, rest = (rest + chunk).split(b"\n\n")
            for event in events:
                data = event.removeprefix(_DATA)
                if data == _DONE:
                    yield event + b"\n\n"
                    return
                value = json.loads(data)
                if "error" in value:
                    raise _Failed(value["error"]["message"])
                yield _event({**value, "model": model})
    except httpx.TransportError:
        pass
    except _Failed as failed:
        reason = str(failed)
    error = await failure(reason)
    body = ErrorBody(message=error.message, type="server_error", code=error.code)
    yield _event({"error": body.model_dump()})


def renamed(content: bytes, model: str) -> dict[str, Any]:
    """A whole answer."""
    return {**json.loads(content), "model": model}


def refusal(status: int, content: bytes) -> EssaError:
    """The error for what a server does not answer with 200."""
    try:
        told = json.loads(content)["error"]
        message, param = told["message"], told.get("param")
    except (ValueError, KeyError, TypeError):
        message, param = content.decode(errors="replace")[:500], None
    if status >= 500:
        return ModelServerError(f"the model server failed: {message}")
    if param == _TOO_LONG:
        return ContextLengthError(
            f"{message} The operator's ESSA_INFERENCE_MAX_MODEL_LEN changes it", field="messages"
        )
    return SpecError(message, field=param)


def _event(value: dict[str, Any]) -> bytes:
    # ASCII only: readers may break lines at U+2028 and the like, which JSON allows in strings.
    return _DATA + json.dumps(value).encode() + b"\n\n"
