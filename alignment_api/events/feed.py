"""One reader of the store per watched job, however many clients watch it.

All watchers of a job share the events that its reader finds, serialised once, so one more watcher
costs nothing but sending. Only a watcher that needs older events than are kept reads the store.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from bisect import bisect_right
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from operator import attrgetter
from typing import NamedTuple

import anyio.to_thread

from alignment_api.errors import StoreError
from alignment_api.events.event_object import event_object
from alignment_api.jobs.events import EventBatch, JobEvent
from alignment_api.store.job_status import JobStatus
from essa.events import Event

logger = logging.getLogger(__name__)

ReadEvents = Callable[[str, int, int], EventBatch]
"""Takes job id, event number and limit; returns up to that many later events, oldest first."""

_BATCH = 200
_KEPT_CHARS = 8_000_000
"""Limit in characters of a watched job's kept messages; above it, the older half is dropped."""
_SENT_CHARS = 200_000
"""Approximate characters per send: what a slow watcher has not yet received is copied in memory."""


class Message(NamedTuple):
    """An event serialised for an event stream."""

    number: int
    text: str


class Written(NamedTuple):
    """The events found by one read of the store, serialised."""

    messages: list[Message]
    has_more: bool
    status: JobStatus


class JobFeed:
    """The recent events of one job, shared by its watchers.

    Attributes:
        last: number of the newest event read.
        status: state of the job, set whenever all its events so far have been read.
        is_broken: True if the store could not be read; watchers should reconnect later.
    """

    def __init__(self, last: int) -> None:
        self.last = last
        self.status: JobStatus | None = None
        self.is_broken = False
        self.watchers = 0
        self._first = last + 1
        self._messages: list[Message] = []
        self._chars = 0
        self._news = asyncio.Event()

    @property
    def is_over(self) -> bool:
        """Whether no event can follow."""
        return self.is_broken or (self.status is not None and self.status.is_terminal)

    def after(self, seq: int) -> list[Message] | None:
        """Return some messages after an event, oldest first; None if the next one was dropped."""
        if seq + 1 < self._first:
            return None
        begin = bisect_right(self._messages, seq, key=attrgetter("number"))
        chars, end = 0, begin
        while end < len(self._messages) and chars < _SENT_CHARS:
            chars += len(self._messages[end].text)
            end += 1
        return self._messages[begin:end]

    def add(self, found: Written) -> None:
        """Add newly read events and wake all watchers."""
        self._messages += found.messages
        self._chars += sum(len(message.text) for message in found.messages)
        if found.messages:
            self.last = found.messages[-1].number
        if self._chars > _KEPT_CHARS:
            self._forget()
        if not found.has_more:
            self.status = found.status
        if found.messages or self.is_over:
            self.wake()

    def wake(self) -> None:
        """Make all watchers check again."""
        self._news.set()
        self._news = asyncio.Event()

    async def news(self, timeout_s: float) -> bool:
        """Wait for new events; return False if none arrives within `timeout_s` seconds."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._news.wait()
        except TimeoutError:
            return False
        return True

    def _forget(self) -> None:
        """Drop the older half at once, so that dropping is rare."""
        count = 0
        while self._chars > _KEPT_CHARS / 2 and count < len(self._messages):
            self._chars -= len(self._messages[count].text)
            count += 1
        self._first = self._messages[count - 1].number + 1
        del self._messages[:count]


class EventHub:
    """The feeds of all watched jobs. Belongs to one event loop.

    Args:
        read: reads the store; called in a thread.
        poll_s: seconds between two reads of a job.
        closing: set when the service stops.
    """

    def __init__(self, read: ReadEvents, poll_s: float, closing: threading.Event) -> None:
        self._read = read
        self._poll_s = poll_s
        self._closing = closing
        self._feeds: dict[str, JobFeed] = {}
        self._readers: dict[str, asyncio.Task[None]] = {}

    @asynccontextmanager
    async def watch(self, job_id: str, after: int) -> AsyncIterator[JobFeed]:
        """Yield the feed of a job, which is read for as long as somebody watches it.

        Args:
            job_id: the job.
            after: number of the event after which the feed starts, if it does not exist yet.
        """
        feed = self._feeds.get(job_id)
        if feed is None or feed.is_broken:
            feed = self._feeds[job_id] = JobFeed(after)
            self._readers[job_id] = asyncio.create_task(self._follow(job_id, feed))
        feed.watchers += 1
        try:
            yield feed
        finally:
            feed.watchers -= 1
            if feed.watchers == 0 and self._feeds.get(job_id) is feed:
                del self._feeds[job_id]
                self._readers.pop(job_id).cancel()

    async def read(self, job_id: str, after: int) -> Written:
        """Read events after one from the store without blocking the event loop."""
        return await anyio.to_thread.run_sync(self._written, job_id, after)

    def _written(self, job_id: str, after: int) -> Written:
        batch = self._read(job_id, after, _BATCH)
        messages = [Message(event.id, message_text(event)) for event in batch.events]
        return Written(messages, batch.has_more, batch.status)

    async def _follow(self, job_id: str, feed: JobFeed) -> None:
        try:
            while not feed.is_over:
                found = await self.read(job_id, feed.last)
                feed.add(found)
                if self._closing.is_set():
                    feed.wake()
                if not found.has_more:
                    await asyncio.sleep(self._poll_s)
        except StoreError:
            logger.exception("the events of %s cannot be read", job_id)
            feed.is_broken = True
            feed.wake()


def message_text(stored: JobEvent[Event]) -> str:
    """Serialise an event for an event stream."""
    # ASCII only: clients may break lines at U+2028 and the like, which JSON allows in strings.
    data = json.dumps(event_object(stored).model_dump(mode="json"))
    return f"id: {stored.id}\nevent: {stored.event.type}\ndata: {data}\n\n"
