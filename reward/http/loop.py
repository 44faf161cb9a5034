"""An event loop for code that is not asynchronous."""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from typing import Any, Generic, NamedTuple, TypeVar

from anyio.from_thread import BlockingPortal, start_blocking_portal

S = TypeVar("S")
T = TypeVar("T")


class _Running(NamedTuple, Generic[S]):
    ending: ExitStack
    portal: BlockingPortal
    session: S


class LoopThread(Generic[S]):
    """One event loop in a thread of its own, with a session that lives on it.

    Safe to call from several threads; their work shares the session. Thread and session are
    opened with the first work, and again with the first after `close`.

    Args:
        session: opens what all work shares.
    """

    def __init__(self, session: Callable[[], AbstractAsyncContextManager[S]]) -> None:
        self._session = session
        self._lock = threading.Lock()
        self._running: _Running[S] | None = None

    def run(self, work: Callable[[S], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine on the loop and wait for it.

        Raises:
            concurrent.futures.CancelledError: `close` was called meanwhile.
        """
        # Handed over under the lock, so that `close` finds and cancels it.
        with self._lock:
            if self._running is None:
                self._running = self._start()
            future = self._running.portal.start_task_soon(work, self._running.session)
        try:
            return future.result()
        finally:
            # For an interrupt that ends the wait; a future that is done ignores it.
            future.cancel()

    def close(self) -> None:
        """Cancel all work, close the session and end the thread. Safe to call twice."""
        with self._lock:
            running, self._running = self._running, None
        if running is not None:
            running.ending.close()

    def _start(self) -> _Running[S]:
        with ExitStack() as stack:
            thread = stack.enter_context(start_blocking_portal(name="reward-http"))
            opened = stack.enter_context(thread.wrap_async_context_manager(self._opened()))
            return _Running(stack.pop_all(), *opened)

    @asynccontextmanager
    async def _opened(self) -> AsyncGenerator[tuple[BlockingPortal, S]]:
        # A portal of its own for the work, which ends before the session that the work uses.
        async with self._session() as session, BlockingPortal() as portal:
            yield portal, session
            await portal.stop(cancel_remaining=True)
