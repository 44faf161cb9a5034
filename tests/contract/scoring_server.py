"""A local HTTP server whose answers a test decides."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

DRIP_S = 0.05


class Received(NamedTuple):
    """One request as it came in; header names in lower case."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body."""
        return json.loads(self.body)


@dataclass(frozen=True)
class Answer:
    """What is sent back.

    Attributes:
        body: sent as it is where it is bytes, else as JSON.
        drip_after: from this byte of the answer on, its head included, bytes come one at a time.
    """

    body: Any = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    drip_after: int | None = None

    @property
    def wire(self) -> bytes:
        """All that is sent."""
        body = self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()
        headers = {"Content-Length": str(len(body)), **self.headers}
        lines = [f"HTTP/1.1 {self.status} -", *(f"{name}: {headers[name]}" for name in headers)]
        return "\r\n".join([*lines, "", ""]).encode() + body


@dataclass
class ScoringServer:
    """A server that runs.

    Attributes:
        port: on 127.0.0.1.
        received: all requests, in order of arrival.
        most_at_once: requests that were under way at a time, at most.
    """

    port: int
    received: list[Received] = field(default_factory=list)
    most_at_once: int = 0

    @property
    def url(self) -> str:
        """Where it stands."""
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def running_server(
    answer: Callable[[Received], Answer], certificate: Path | None = None
) -> Iterator[ScoringServer]:
    """Answer every POST, each in a thread of its own, until the block is left.

    Args:
        answer: to one request.
        certificate: file with certificate and key, to speak TLS.
    """
    lock, under_way = threading.Lock(), 0

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            nonlocal under_way
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Received(self.path, headers, body)
            with lock:
                under_way += 1
                server.most_at_once = max(server.most_at_once, under_way)
                server.received.append(request)
            try:
                reply = answer(request)
            finally:
                with lock:
                    under_way -= 1
            self._send(reply)

        def _send(self, reply: Answer) -> None:
            wire = reply.wire
            at_once = len(wire) if reply.drip_after is None else reply.drip_after
            try:
                # In one piece: a head and a body apart wait for each other's acknowledgement.
                self.wfile.write(wire[:at_once])
                for byte in wire[at_once:]:
                    time.sleep(DRIP_S)
                    self.wfile.write(bytes([byte]))
            except ConnectionError:
                self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:
            """Keep quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listener:
        listener.daemon_threads, listener.block_on_close = True, False
        if certificate is not None:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(certificate)
            listener.socket = tls.wrap_socket(listener.socket, server_side=True)
        server = ScoringServer(listener.server_address[1])
        threading.Thread(target=listener.serve_forever, args=(0.05,), daemon=True).start()
        yield server
        listener.shutdown()


def chat_reply(text: Any, finish: str = "stop", **fields: Any) -> Answer:
    """An answer of an OpenAI-compatible `/chat/completions`."""
    message = {"role": "assistant", "content": text}
    return Answer({"choices": [{"message": message, "finish_reason": finish}], **fields})


def count_of_good(request: Received) -> Answer:
    """Score a text by how often it says good, as a judge and as a remote server."""
    if request.path.endswith("/chat/completions"):
        return chat_reply(str(request.json["messages"][-1]["content"].count("good")))
    return Answer({"scores": [item["completion"].count("good") for item in request.json["items"]]})
