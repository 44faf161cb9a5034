"""Client of the service's REST API."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx
from httpx_sse import EventSource, ServerSentEvent

from alignment_api.errors import ApiRequestError
from essa.events import Event, read_event
from essa.spec import AlignmentJobSpec
from essa.spec.export import ExportSpec

JOBS = "/v1/fine_tuning/jobs"

_TIMEOUT_S = 30.0
_TRIES = 3
_SILENCE_S = 60.0
_LONGEST_PAUSE_S = 5.0
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class WatchedEvent(NamedTuple):
    """One event of a stream and its number in the job."""

    number: int
    event: Event


class ApiClient:
    """Connection to one service. A context manager that closes its connections."""

    def __init__(self, server: str, key: str | None = None, *, patience_s: float = 60.0) -> None:
        """Prepare a client; nothing is sent yet.

        Args:
            server: address, such as `http://127.0.0.1:8400`.
            key: API key; None for a service without keys.
            patience_s: seconds for which a broken event stream is reconnected before giving up.
        """
        self._server = server.rstrip("/")
        self._patience_s = patience_s
        # A proxy from the environment could not reach this machine's loopback.
        use_proxy = urlsplit(self._server).hostname not in _LOOPBACK
        self._http = httpx.Client(
            base_url=self._server,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=_TIMEOUT_S,
            trust_env=use_proxy,
        )

    def __enter__(self) -> ApiClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def submit(self, spec: AlignmentJobSpec, **extras: Any) -> dict[str, Any]:
        """Queue a job, only once even if the request has to be repeated, and return it.

        Args:
            spec: the job.
            extras: `priority`, `suffix`, `metadata`.
        """
        body = spec.model_dump(mode="json") | extras
        headers = {"Idempotency-Key": uuid.uuid4().hex}
        return self._json("POST", JOBS, json=body, headers=headers, tries=_TRIES)

    def job(self, job_id: str) -> dict[str, Any]:
        """Return one job."""
        return self._json("GET", f"{JOBS}/{job_id}")

    def jobs(self, limit: int) -> list[dict[str, Any]]:
        """Return the newest jobs."""
        return self._json("GET", JOBS, params={"limit": limit})["data"]

    def steer(self, job_id: str, what: str) -> dict[str, Any]:
        """Cancel, pause or resume a job.

        Args:
            job_id: the job.
            what: `cancel`, `pause` or `resume`.
        """
        return self._json("POST", f"{JOBS}/{job_id}/{what}")

    def clone(
        self, job_id: str, changes: dict[str, Any], priority: int | None = None
    ) -> dict[str, Any]:
        """Queue a copy of a job with changes, and return it."""
        body = {"changes": changes, "priority": priority}
        return self._json("POST", f"{JOBS}/{job_id}/clone", json=body)

    def upload(self, path: Path) -> dict[str, Any]:
        """Upload a data file and return its object."""
        with path.open("rb") as file:
            return self._json("POST", "/v1/files", files={"file": (path.name, file)})

    def order_export(self, job_id: str, wanted: ExportSpec) -> dict[str, Any]:
        """Start an export unless it exists, and return its status."""
        body = wanted.model_dump(mode="json")
        return self._json("POST", f"{JOBS}/{job_id}/exports", json=body)

    def exports(self, job_id: str) -> list[dict[str, Any]]:
        """Return the exports of a job."""
        return self._json("GET", f"{JOBS}/{job_id}/exports")["data"]

    def fetch_export(self, job_id: str, wanted: ExportSpec, target: Path) -> None:
        """Download the zip of an export to `target`."""
        path = f"{JOBS}/{job_id}/export"
        query = wanted.model_dump(mode="json", exclude_none=True)
        try:
            with self._http.stream("GET", path, params=query) as answer, target.open("wb") as file:
                _check(answer)
                for chunk in answer.iter_bytes():
                    file.write(chunk)
        except httpx.TransportError as error:
            raise self._unreachable(error) from error

    def watch(
        self, job_id: str, on_break: Callable[[str], None] = lambda reason: None
    ) -> Iterator[WatchedEvent]:
        """Yield a job's events, past ones first, until the job ends.

        A broken stream is resumed after the last event seen.

        Args:
            job_id: the job.
            on_break: called with the reason each time the stream breaks.
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
                    yield WatchedEvent(last, read_event(json.loads(message.data)["data"]))
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

    def _messages(self, job_id: str, last: int) -> Iterator[ServerSentEvent]:
        headers = {"Accept": "text/event-stream", "Last-Event-ID": str(last)}
        timeout = httpx.Timeout(_TIMEOUT_S, read=_SILENCE_S)
        path = f"{JOBS}/{job_id}/events"
        with self._http.stream("GET", path, headers=headers, timeout=timeout) as answer:
            _check(answer)
            for message in EventSource(answer).iter_sse():
                # The library also yields comments and `retry` lines, with the last event's id.
                if message.data:
                    yield message

    def _json(self, method: str, path: str, tries: int = 1, **request: Any) -> Any:
        while True:
            tries -= 1
            try:
                answer = self._http.request(method, path, **request)
                break
            except httpx.TransportError as error:
                if tries <= 0 or isinstance(error, httpx.ConnectError):
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
