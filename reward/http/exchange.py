"""One attempt to post one message."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import httpx

from reward.errors import RewardConfigError
from reward.http.hosts import host_and_port
from reward.http.retry import is_worth_a_retry, retry_after_s
from reward.http.transport import MAX_CONNECT_S

MAX_REDIRECTS = 3
MAX_REPLY_BYTES = 8 * 1024 * 1024
QUOTED_CHARACTERS = 160
"""Characters of a server's text that an error message quotes."""

HEADERS = {
    "User-Agent": "essa-service",
    "Content-Type": "application/json",
    "Accept": "application/json",
    # A compressed answer could unpack to any size within one read.
    "Accept-Encoding": "identity",
}


@dataclass(frozen=True)
class Endpoint:
    """The destination of messages.

    Attributes:
        url: URL of the server.
        setting: the full name of the setting that holds the URL, for messages.
        secret: text blotted out of every error message.
        credentials: function from a body to headers, called for every attempt; the headers are sent
            only to the origin of `url`, not to other origins that it redirects to.
        max_reply_bytes: longest answer; a longer one is a failure.
    """

    url: str
    setting: str
    secret: str | None = field(default=None, repr=False)
    credentials: Callable[[bytes], Mapping[str, str]] = field(default=lambda _: {}, repr=False)
    max_reply_bytes: int = MAX_REPLY_BYTES

    def blot(self, text: str) -> str:
        """Return the text without the secret."""
        return text.replace(self.secret, "[secret]") if self.secret else text

    def quote(self, text: str) -> str:
        """Return the start of a server's text, safe for an error message."""
        text = self.blot(text)
        cut = text[:QUOTED_CHARACTERS]
        return repr(cut) + ("..." if len(cut) < len(text) else "")


class Message(NamedTuple):
    """One body to post, with headers of its own."""

    body: bytes
    headers: Mapping[str, str] = {}


class AttemptFailed(Exception):
    """One attempt failed.

    Attributes:
        problem: rest of a sentence that starts with the name of the server.
        is_passing: whether the failure is transient, so that a retry may succeed.
        wait_s: time the server asks to wait before the next attempt.
    """

    def __init__(self, problem: str, is_passing: bool = False, wait_s: float | None = None) -> None:
        super().__init__(problem)
        self.problem = problem
        self.is_passing = is_passing
        self.wait_s = wait_s


class Exchange:
    """Posts messages to an endpoint and follows its redirects.

    Only 307 and 308 are followed: the others would turn the message into a GET. The transport
    checks every address on the way.

    Args:
        endpoint: endpoint of the server.
        timeout_s: longest time of an attempt: name lookup, connection, redirects and whole answer.
        timeout_setting: the full name of the setting that holds `timeout_s`, for messages.
    Raises:
        RewardConfigError: the URL is malformed.
    """

    def __init__(self, endpoint: Endpoint, timeout_s: float, timeout_setting: str) -> None:
        self._endpoint = endpoint
        self._timeout_s = timeout_s
        self._timeout_setting = timeout_setting
        # Other timeouts would restart with every byte; the timeout around an attempt bounds it all.
        self._timeouts = httpx.Timeout(None, connect=MAX_CONNECT_S).as_dict()
        try:
            self.url = httpx.URL(endpoint.url)
        except httpx.InvalidURL as error:
            raise RewardConfigError(
                f"{endpoint.setting} is {endpoint.url!r}, which is not a URL: {error}",
                field=endpoint.setting,
            ) from error

    async def post(self, transport: httpx.AsyncBaseTransport, message: Message) -> bytes:
        """Post a message and return the body of the answer.

        Raises:
            AttemptFailed: there is no answer, or its status is not 2xx.
            RewardConfigError: the operator does not allow an address on the way.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._follow(transport, message)
        except TimeoutError as error:
            raise AttemptFailed(
                f"gave no whole answer within {self._timeout_s:g} s; raise {self._timeout_setting}",
                is_passing=True,
            ) from error
        except httpx.TransportError as error:
            problem = f"was lost or not reached: {type(error).__name__}: {error}"
            raise AttemptFailed(problem, is_passing=True) from error

    async def _follow(self, transport: httpx.AsyncBaseTransport, message: Message) -> bytes:
        url = self.url
        for _ in range(MAX_REDIRECTS + 1):
            response = await transport.handle_async_request(self._request(url, message))
            try:
                body = await self._body(response)
            finally:
                await response.aclose()
            if response.status_code not in (307, 308):
                return self._accepted(response, body)
            url = self._target(url, response)
        raise AttemptFailed(
            f"redirects more than {MAX_REDIRECTS} times; set {self._endpoint.setting} to the "
            "address at the end"
        )

    def _request(self, url: httpx.URL, message: Message) -> httpx.Request:
        headers = {**HEADERS, **message.headers}
        if _origin(url) == _origin(self.url):
            headers |= self._endpoint.credentials(message.body)
        extensions = {"timeout": self._timeouts}
        return httpx.Request(
            "POST", url, headers=headers, content=message.body, extensions=extensions
        )

    async def _body(self, response: httpx.Response) -> bytes:
        limit = self._endpoint.max_reply_bytes
        body = bytearray()
        async for part in response.aiter_raw():
            body += part
            if len(body) > limit:
                raise AttemptFailed(f"answered with more than {limit} bytes, the most allowed")
        return bytes(body)

    def _accepted(self, response: httpx.Response, body: bytes) -> bytes:
        status, coding = response.status_code, response.headers.get("content-encoding", "identity")
        if 200 <= status < 300 and coding == "identity":
            return body
        if 200 <= status < 300:
            raise AttemptFailed(f"answered in the encoding {coding!r}, which was not asked for")
        if 300 <= status < 400:
            target = self._endpoint.quote(response.headers.get("location", ""))
            raise AttemptFailed(
                f"redirects with status {status} to {target}; set {self._endpoint.setting} to the "
                "address at the end"
            )
        text = self._endpoint.quote(body.decode(errors="replace"))
        wait_s = retry_after_s(response.headers.get("retry-after"))
        problem = f"answered with status {status}: {text}"
        raise AttemptFailed(problem, is_worth_a_retry(status), wait_s)

    def _target(self, url: httpx.URL, response: httpx.Response) -> httpx.URL:
        location = response.headers.get("location", "")
        try:
            return url.join(location)
        except httpx.InvalidURL as error:
            problem = f"redirects to {self._endpoint.quote(location)}, which is not a URL"
            raise AttemptFailed(problem) from error


def _origin(url: httpx.URL) -> tuple[Any, ...]:
    return (url.scheme, *host_and_port(url))
