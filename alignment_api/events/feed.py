"""One reader of the store for each job that is watched, however many watch it.

All watchers of a job share what its reader finds, written out once: opening a stream costs one more
watcher nothing but sending. Only who needs older events than are kept reads the store itself.
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
"""Job, number of an event, most events -> the events after it, oldest first."""

_BATCH = 200
_KEPT_CHARS = 8_000_000
"""The newest messages of a watched job are kept up to this length; then half are dropped."""
_SENT_CHARS = 200_000
"""About as much is sent at a time: what a slow watcher has not taken is in memory once more."""


class Message(NamedTuple):
    """An event as the text of an event stream."""

    number: int
    text: str


class Written(NamedTuple):
    """What one look at the store found, written out."""

    messages: list[Message]
    has_more: bool
    status: JobStatus


class JobFeed:
    """The news of one job.

    Attributes:
        last: number of the newest event found.
        status: of the job once all its events were found.
        is_broken: the store could not be read; watchers should come back later.
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
        """True once no event can follow."""
        return self.is_broken or (self.status is not None and self.status.is_terminal)

    def after(self, seq: int) -> list[Message] | None:
        """Some of the messages after an event, oldest first; None where the next is not kept."""
        if seq + 1 < self._first:
            return None
        begin = bisect_right(self._messages, seq, key=attrgetter("number"))
        chars, end = 0, begin
        while end < len(self._messages) and chars < _SENT_CHARS:
            chars += len(self._messages[end].text)
            end += 1
        return self._messages[begin:end]

    def add(self, found: Written) -> None:
        """Take in what was read, and wake all watchers."""
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

    def _forget(self) -> None:
        """Drop the oldest half, so that it is seldom done."""
        count = 0
        while self._chars > _KEPT_CHARS / 2 and count < len(self._messages):
            self._chars -= len(self._messages[count].text)
            count += 1
        self._first = self._messages[count - 1].number + 1
        del self._messages[:count]


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
    async def watch(self, job_id: str, after: int) -> AsyncIterator[JobFeed]:
        """The feed of a job, read while somebody watches it.

        Args:
            job_id: the job.
            after: number of the event after which a feed begins that is not there yet.
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
        """Events after one, from the store, without holding up the loop."""
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
    """An event as the text of an event stream."""
    # ASCII only: readers may break lines at U+2028 and the like, which JSON allows in strings.
    data = json.dumps(event_object(stored).model_dump(mode="json"))
    return f"id: {stored.id}\nevent: {stored.event.type}\ndata: {data}\n\n"
