"""One reader of the store for each job that is watched, however many watch it.

A watcher first catches up from the store; from then on all watchers of a job share what its reader
finds, already written out.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio.to_thread

from alignment_api.errors import StoreError
from alignment_api.fine_tuning.event_object import event_object
from alignment_api.jobs.events import EventBatch
from alignment_api.jobs.schemas import JobEvent, JobStatus

logger = logging.getLogger(__name__)

ReadEvents = Callable[[str, int, int], EventBatch]
"""Job, number of an event, most events -> the events after it, oldest first."""

_BATCH = 200
_KEPT = 400
"""Newest messages of a watched job that are kept in memory."""


class JobFeed:
    """The news of one job.

    Attributes:
        last: number of the newest event found.
        status: of the job when it was found.
        is_broken: the store could not be read; watchers should come back later.
    """

    def __init__(self, last: int, status: JobStatus) -> None:
        self.last = last
        self.status = status
        self.is_broken = False
        self.watchers = 0
        self._messages: deque[tuple[int, str]] = deque(maxlen=_KEPT)
        self._news = asyncio.Event()

    @property
    def is_over(self) -> bool:
        """True once no event can follow."""
        return self.status.is_terminal or self.is_broken

    def after(self, seq: int) -> str | None:
        """Messages after an event; None where not all of them are kept."""
        if not self._messages or self._messages[0][0] > seq + 1:
            return None
        return "".join(text for number, text in self._messages if number > seq)

    def add(self, batch: EventBatch) -> None:
        """Take in what was read, and wake all watchers."""
        for event in batch.events:
            self._messages.append((event.id, message(event)))
            self.last = event.id
        if not batch.has_more:
            self.status = batch.status
        if batch.events or self.is_over:
            self.wake()

    def wake(self) -> None:
        """Let all watchers look again."""
        self._news.set()
        self._news = asyncio.Event()

    async def news(self, timeout_s: float) -> bool:
        """Wait for something new; False if there is nothing after `timeout_s` seconds."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._news.wait()
        except TimeoutError:
            return False
        return True


class EventHub:
    """The feeds of all jobs that are watched. Lives in one event loop.

    Args:
        read: reads the store, in a thread.
        poll_s: pause between two looks at a job.
        closing: set when the service stops.
    """

    def __init__(self, read: ReadEvents, poll_s: float, closing: threading.Event) -> None:
        self._read = read
        self._poll_s = poll_s
        self._closing = closing
        self._feeds: dict[str, JobFeed] = {}
        self._readers: dict[str, asyncio.Task[None]] = {}

    @asynccontextmanager
    async def watch(self, job_id: str, last: int, status: JobStatus) -> AsyncIterator[JobFeed]:
        """The feed of a job, read while somebody watches it.

        Args:
            job_id: the job.
            last, status: where a feed that is not there yet begins.
        """
        feed = self._feeds.get(job_id)
        if feed is None or feed.is_broken:
            feed = self._feeds[job_id] = JobFeed(last, status)
            self._readers[job_id] = asyncio.create_task(self._follow(job_id, feed))
        feed.watchers += 1
        try:
            yield feed
        finally:
            feed.watchers -= 1
            if feed.watchers == 0 and self._feeds.get(job_id) is feed:
                del self._feeds[job_id]
                self._readers.pop(job_id).cancel()

    async def read(self, job_id: str, after: int, limit: int = _BATCH) -> EventBatch:
        """Read the store without holding up the loop."""
        return await anyio.to_thread.run_sync(self._read, job_id, after, limit)

    async def _follow(self, job_id: str, feed: JobFeed) -> None:
        try:
            while not feed.is_over:
                batch = await self.read(job_id, feed.last)
                feed.add(batch)
                if self._closing.is_set():
                    feed.wake()
                if not batch.has_more:
                    await asyncio.sleep(self._poll_s)
        except StoreError:
            logger.exception("the events of %s cannot be read", job_id)
            feed.is_broken = True
            feed.wake()


def message(event: JobEvent) -> str:
    """An event as the text of an event stream."""
    # ASCII only: readers may break lines at U+2028 and the like, which JSON allows in strings.
    data = json.dumps(event_object(event).model_dump(mode="json"))
    return f"id: {event.id}\nevent: {event.type}\ndata: {data}\n\n"
