"""Posting JSON to one server, many messages at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import CancelledError
from contextlib import asynccontextmanager
from typing import NamedTuple

from reward.errors import RewardCallError, RewardError
from reward.http.exchange import AttemptFailed, Endpoint, Exchange, Message
from reward.http.hosts import HostGuard, Resolver, host_and_port, resolve
from reward.http.loop import LoopThread
from reward.http.retry import pause_s
from reward.http.transport import PinnedTransport
from reward.resources import RewardPolicy
from reward.spec.external import HttpSpec


class CallCounts(NamedTuple):
    """Requests sent, and how many of them were retries."""

    requests: int
    retries: int


class _Session(NamedTuple):
    transport: PinnedTransport
    slots: asyncio.Semaphore


class GuardedClient:
    """Posts messages to an endpoint that the operator allows. Safe to call from several threads.

    Nothing is opened before the first message. All callers together have at most
    `spec.concurrency` messages under way, and no attempt outlives `spec.timeout_s`.

    Args:
        endpoint: endpoint of the server.
        spec: limits of time, retries and concurrency.
        path: path of the reward in the job, for messages.
        policy: permissions given by the operator.
        resolver: function from a host name to addresses.
    Raises:
        RewardConfigError: the operator does not allow the host.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        spec: HttpSpec,
        path: str,
        policy: RewardPolicy,
        resolver: Resolver = resolve,
    ) -> None:
        self._endpoint, self._spec, self._path = endpoint, spec, path
        self._exchange = Exchange(endpoint, spec.timeout_s, f"{path}.timeout_s")
        self._guard = HostGuard(policy, endpoint.setting, resolver)
        self._guard.check(self._exchange.url)
        host, port = host_and_port(self._exchange.url)
        self._server = f"{path}: {host}:{port}"
        self._loop = LoopThread(self._session)
        self._requests = self._retries = 0

    @property
    def counts(self) -> CallCounts:
        """Requests sent so far."""
        return CallCounts(self._requests, self._retries)

    def post_all(self, messages: Sequence[Message]) -> list[bytes | RewardError]:
        """Post messages and wait for all of them.

        Returns:
            For each message, in order, the body of its answer, or the error.
        """
        if not messages:
            return []

        async def work(session: _Session) -> list[bytes | RewardError]:
            return await asyncio.gather(*(self._deliver(session, one) for one in messages))

        try:
            return self._loop.run(work)
        except CancelledError:
            closed = RewardCallError(f"{self._server} was not waited for: the reward was closed")
            return [closed] * len(messages)

    def close(self) -> None:
        """Cancel requests under way and free the connections. Safe to call twice."""
        self._loop.close()

    @asynccontextmanager
    async def _session(self) -> AsyncGenerator[_Session]:
        transport = PinnedTransport(self._guard)
        try:
            yield _Session(transport, asyncio.Semaphore(self._spec.concurrency))
        finally:
            await transport.aclose()

    async def _deliver(self, session: _Session, message: Message) -> bytes | RewardError:
        # The slot is held between retries, so that a server in trouble gets no further requests.
        async with session.slots:
            try:
                return await self._attempts(session, message)
            except RewardError as error:
                return type(error)(self._endpoint.blot(error.message), **error.detail)
            # The boundary of one message: an unforeseen failure must not fail the others.
            except Exception as error:
                problem = f"{self._server}: unexpected {type(error).__name__}: {error}"
                return RewardCallError(self._endpoint.blot(problem))

    async def _attempts(self, session: _Session, message: Message) -> bytes:
        attempt = 0
        while True:
            # Both are counted on the loop's thread only.
            self._requests += 1
            self._retries += attempt > 0
            try:
                return await self._exchange.post(session.transport, message)
            except AttemptFailed as failed:
                if not failed.is_passing or attempt == self._spec.max_retries:
                    tries = f" (tried {attempt + 1} times)" if attempt else ""
                    problem = f"{self._server} {failed.problem}{tries}"
                    raise RewardCallError(problem, field=self._endpoint.setting) from failed
                await asyncio.sleep(pause_s(attempt, failed.wait_s))
                attempt += 1
