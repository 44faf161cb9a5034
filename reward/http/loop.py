"""An event loop for code that is not asynchronous."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager
from typing import Any, Generic, NamedTuple, TypeVar

S = TypeVar("S")
T = TypeVar("T")


class _Running(NamedTuple, Generic[S]):
    thread: threading.Thread
    loop: asyncio.AbstractEventLoop
    stop: asyncio.Event
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
            running = self._running
            future = asyncio.run_coroutine_threadsafe(work(running.session), running.loop)
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
            running.loop.call_soon_threadsafe(running.stop.set)
            running.thread.join()

    def _start(self) -> _Running[S]:
        opened: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event, S]] = Future()
        thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(opened)), name="reward-http", daemon=True
        )
        thread.start()
        return _Running(thread, *opened.result())

    async def _serve(
        self, opened: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event, S]]
    ) -> None:
        try:
            async with self._session() as session:
                stop = asyncio.Event()
                opened.set_result((asyncio.get_running_loop(), stop, session))
                await stop.wait()
                # Before the session goes, which they use.
                await _cancel_all_others()
        except Exception as error:
            if opened.done():
                raise
            opened.set_exception(error)


async def _cancel_all_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
