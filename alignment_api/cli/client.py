"""Talks to the service over REST."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx
from pydantic import ValidationError

from alignment_api.cli.sse import read_messages
from alignment_api.errors import ApiRequestError
from essa.events import Event, WarningEvent, event_adapter
from essa.spec import AlignmentJobSpec

_TIMEOUT_S = 30.0
_SILENCE_S = 60.0
_LONGEST_PAUSE_S = 5.0
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class WatchedEvent(NamedTuple):
    """One event of a stream and its number in the job."""

    number: int
    event: Event


class ApiClient:
    """One service. A context manager that closes its connections."""

    def __init__(self, server: str, *, patience_s: float = 60.0) -> None:
        """Prepare a client; nothing is sent yet.

        Args:
            server: address, such as `http://127.0.0.1:8400`.
            patience_s: how long a broken event stream is tried again.
        """
        self._server = server.rstrip("/")
        self._patience_s = patience_s
        # A proxy of the environment cannot reach this machine's own loopback.
        use_proxy = urlsplit(self._server).hostname not in _LOOPBACK
        self._http = httpx.Client(base_url=self._server, timeout=_TIMEOUT_S, trust_env=use_proxy)

    def __enter__(self) -> ApiClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def submit(self, spec: AlignmentJobSpec) -> dict[str, Any]:
        """Queue a job and return it."""
        return self._json("POST", "/v1/jobs", json=spec.model_dump(mode="json"))

    def job(self, job_id: str) -> dict[str, Any]:
        """One job."""
        return self._json("GET", f"/v1/jobs/{job_id}")

    def jobs(self, limit: int) -> list[dict[str, Any]]:
        """The newest jobs."""
        return self._json("GET", "/v1/jobs", params={"limit": limit})["data"]

    def cancel(self, job_id: str) -> dict[str, Any]:
        """Cancel a job."""
        return self._json("POST", f"/v1/jobs/{job_id}/cancel")

    def upload(self, path: Path) -> dict[str, Any]:
        """Upload a data file."""
        with path.open("rb") as file:
            return self._json("POST", "/v1/files", files={"file": (path.name, file)})

    def fetch_adapter(self, job_id: str, target: Path) -> None:
        """Write the zip of a job's adapter to `target`."""
        path = f"/v1/jobs/{job_id}/adapter"
        try:
            with self._http.stream("GET", path) as answer, target.open("wb") as file:
                _check(answer)
                for chunk in answer.iter_bytes():
                    file.write(chunk)
        except httpx.TransportError as error:
            raise self._unreachable(error) from error

    def watch(
        self, job_id: str, on_break: Callable[[str], None] = lambda reason: None
    ) -> Iterator[WatchedEvent]:
        """Yield a job's events, past ones first, until it has ended.

        A broken stream is taken up again after the last event seen.

        Args:
            job_id: the job.
            on_break: told why a stream broke, each time.
        Raises:
            ApiRequestError: no such job, or no connection for `patience_s` seconds.
        """
        last = 0
        pause_s = 0.2
        heard_at = time.monotonic()
        while True:
            reason = "the service closed the stream"
            try:
                for message in self._messages(job_id, last):
                    if message.event == "end":
                        return
                    if not message.id.isdigit():
                        continue
                    last = int(message.id)
                    pause_s, heard_at = 0.2, time.monotonic()
                    yield WatchedEvent(last, _event(message.data))
                heard_at = time.monotonic()
            except httpx.TransportError as error:
                failure = self._unreachable(error)
                if time.monotonic() - heard_at > self._patience_s:
                    raise failure from error
                reason = failure.message
            on_break(reason)
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def close(self) -> None:
        """Close open connections."""
        self._http.close()

    def _messages(self, job_id: str, last: int) -> Iterator[Any]:
        headers = {"Accept": "text/event-stream", "Last-Event-ID": str(last)}
        timeout = httpx.Timeout(_TIMEOUT_S, read=_SILENCE_S)
        path = f"/v1/jobs/{job_id}/events"
        with self._http.stream("GET", path, headers=headers, timeout=timeout) as answer:
            _check(answer)
            yield from read_messages(answer.iter_lines())

    def _json(self, method: str, path: str, **request: Any) -> Any:
        try:
            answer = self._http.request(method, path, **request)
        except httpx.TransportError as error:
            raise self._unreachable(error) from error
        _check(answer)
        return answer.json()

    def _unreachable(self, error: httpx.TransportError) -> ApiRequestError:
        return ApiRequestError(
            f"the service at {self._server} does not answer ({error or type(error).__name__}); "
            "start it with `essa serve`, or name another with --server or ESSA_URL"
        )


def _check(answer: httpx.Response) -> None:
    if answer.is_success:
        return
    answer.read()
    try:
        failure = answer.json()["error"]
        message = failure["message"]
    except (ValueError, KeyError, TypeError):
        message = f"{answer.request.url} answered {answer.status_code}; is this an ESSA service?"
        failure = {}
    raise ApiRequestError(message, status=answer.status_code, reason=failure.get("code"))


def _event(text: str) -> Event:
    entry = json.loads(text)
    try:
        return event_adapter.validate_python(entry["data"])
    except ValidationError:
        # A newer service may report kinds that this client does not know.
        kind = entry.get("type")
        return WarningEvent(
            code="unreadable_event", message=f"event {entry.get('id')} of kind {kind!r} not shown"
        )
