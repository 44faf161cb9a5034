"""What the client makes of an answer."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from alignment_api.cli.client import ApiClient
from alignment_api.errors import ApiRequestError
from essa.events import StageEvent


@contextmanager
def answering(text: str, kind: str) -> Iterator[str]:
    """The address of a server that says the same to every request."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_event_streams_are_read_by_the_standards_rules() -> None:
    said = {"type": "stage", "stage": "search", "message": "one\u2028two"}
    first = json.dumps({"data": said}, ensure_ascii=False)
    second = json.dumps({"data": said | {"message": "four"}})
    cut = first.index(" ") + 1
    text = (
        f": hello\n\nretry: 10\n\nid: 7\nevent: stage\ndata: {first[:cut]}\ndata:{first[cut:]}\n\n"
        f": still here\n\nid: 8\r\ndata: {second}\r\n\r\nevent: end\ndata: x\n\nid: 9\ndata: cut"
    )
    with answering(text, "text/event-stream") as url, ApiClient(url) as client:
        watched = list(client.watch("ftjob-1"))
    assert [entry.number for entry in watched] == [7, 8]
    assert [entry.event.message for entry in watched if isinstance(entry.event, StageEvent)] == [
        "one\u2028two",
        "four",
    ]


def test_an_answer_that_is_no_event_stream_is_an_error_that_says_so() -> None:
    breaks: list[str] = []
    with (
        answering("<html>", "text/html") as url,
        ApiClient(url, patience_s=0.05) as client,
        pytest.raises(ApiRequestError, match="text/html"),
    ):
        list(client.watch("ftjob-1", on_break=breaks.append))
    assert all("text/html" in reason for reason in breaks)
