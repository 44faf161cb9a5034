"""A model server whose answers are scripted; it is started as vLLM's server is.

An answer says which adapter was asked and what for. The last message, or the prompt, may order
something else; see `_ORDERS`. What happens is written into the folder of the base:

- `pids`: a line a start, with the server's process and one that it has started;
- `log.jsonl`: every request, adapter and broken-off answer.

A file `refuse` there ends the start, and `wait` holds it up until it is gone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

ODD_TEXT = "one\u2028two\x85three\nfour é"


class ScriptedServer:
    """The routes of vLLM's server that are used."""

    def __init__(self, folder: Path, base_name: str) -> None:
        self._folder = folder
        self._names = {base_name}

    def app(self) -> Starlette:
        """The application."""
        return Starlette(
            routes=[
                Route("/health", self.health),
                Route("/v1/load_lora_adapter", self.load, methods=["POST"]),
                Route("/v1/chat/completions", self.answer, methods=["POST"]),
                Route("/v1/completions", self.answer, methods=["POST"]),
            ]
        )

    def health(self, request: Request) -> Response:
        """Not well once its engine is said to be dead."""
        return Response(status_code=503 if (self._folder / "dead").exists() else 200)

    def note(self, **what: Any) -> None:
        """Add a line to the log."""
        with (self._folder / "log.jsonl").open("a") as file:
            file.write(json.dumps(what) + "\n")

    async def load(self, request: Request) -> Response:
        """Load an adapter, as vLLM does: each name once."""
        body = await request.json()
        name, folder = body["lora_name"], Path(body["lora_path"])
        if name in self._names:
            return _refused(400, f"'{name}' has already been loaded")
        if not (folder / "adapter_config.json").is_file():
            return _refused(404, f"No adapter found for {folder}")
        self._names.add(name)
        self.note(adapter=name, folder=str(folder))
        return Response()

    async def answer(self, request: Request) -> Response:
        """Answer a chat or a completion."""
        body = await request.json()
        if body["model"] not in self._names:
            return _refused(404, f"The model `{body['model']}` does not exist.")
        self.note(request=body)
        is_chat = "messages" in body
        order = body["messages"][-1]["content"] if is_chat else body["prompt"]
        match order:
            case "too long":
                return _refused(400, "This model's maximum context length is 8.", "input_tokens")
            case "fail":
                return _refused(500, "EngineCore encountered an issue.")
            case "crash":
                sys.stdout.write("about to crash\n")
                sys.stdout.flush()
                os._exit(3)
            case "hang" if not body["stream"]:
                await self._until_gone(request)
        text = ODD_TEXT if order == "odd" else f"{body['model']} says {order}"
        if body["stream"]:
            events = self._events(text, order, is_chat, body)
            return StreamingResponse(events, media_type="text/event-stream")
        return JSONResponse(_whole(text, is_chat, body))

    async def _until_gone(self, request: Request) -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        self.note(broken_off=True)

    async def _events(
        self, text: str, order: str, is_chat: bool, body: dict[str, Any]
    ) -> AsyncIterator[str]:
        try:
            for letter in text:
                yield _event(_chunk(letter, is_chat, body))
                await asyncio.sleep(0)
            if order == "hang":
                while True:
                    await asyncio.sleep(0.02)
                    yield _event(_chunk("x", is_chat, body))
            if order == "crash in stream":
                await asyncio.sleep(0.1)
                os._exit(3)
            if order == "fail in stream":
                yield _event({"error": {"message": "no memory", "type": "x", "code": 500}})
        except asyncio.CancelledError:
            self.note(broken_off=True)
            raise
        if (body.get("stream_options") or {}).get("include_usage"):
            yield _event({**_chunk("", is_chat, body), "choices": [], "usage": _usage(text)})
        yield "data: [DONE]\n\n"


def _event(value: dict[str, Any]) -> str:
    # As vLLM does: not only ASCII.
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n"


def _whole(text: str, is_chat: bool, body: dict[str, Any]) -> dict[str, Any]:
    part: dict[str, Any] = {"message": {"role": "assistant", "content": text}}
    if not is_chat:
        part = {"text": text}
    choices = [
        {"index": index, "finish_reason": "stop", "logprobs": None, **part}
        for index in range(body.get("n", 1))
    ]
    kind = "chat.completion" if is_chat else "text_completion"
    return {**_head(kind, body), "choices": choices, "usage": _usage(text)}


def _chunk(letter: str, is_chat: bool, body: dict[str, Any]) -> dict[str, Any]:
    part: dict[str, Any] = {"delta": {"content": letter}} if is_chat else {"text": letter}
    kind = "chat.completion.chunk" if is_chat else "text_completion"
    return {**_head(kind, body), "choices": [{"index": 0, "finish_reason": None, **part}]}


def _head(kind: str, body: dict[str, Any]) -> dict[str, Any]:
    return {"id": "cmpl-1", "object": kind, "created": int(time.time()), "model": body["model"]}


def _usage(text: str) -> dict[str, int]:
    return {"prompt_tokens": 1, "completion_tokens": len(text), "total_tokens": len(text) + 1}


def _refused(status: int, message: str, param: str | None = None) -> Response:
    error = {"message": message, "type": "BadRequestError", "param": param, "code": status}
    return JSONResponse({"error": error}, status_code=status)


def main() -> None:
    """Serve as the arguments say."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--uds", required=True)
    parser.add_argument("--served-model-name", required=True)
    given, _ = parser.parse_known_args()
    folder: Path = given.model
    if (folder / "refuse").exists():
        sys.exit("no room on this device")
    helper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    with (folder / "pids").open("a") as file:
        file.write(f"{os.getpid()} {helper.pid}\n")
    server = ScriptedServer(folder, given.served_model_name)
    server.note(arguments=sys.argv[1:], environment=dict(os.environ))
    while (folder / "wait").exists():
        time.sleep(0.02)
    uvicorn.run(server.app(), uds=given.uds, log_level="warning")


if __name__ == "__main__":
    main()
