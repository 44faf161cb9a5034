"""Server-sent events of one job: what has happened, then what happens."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import AsyncIterator

from alignment_api.fine_tuning.hub import EventHub, JobFeed, message

END = "end"
"""Name of the last message; its data is the job's final status. It has no id."""


async def stream_events(
    hub: EventHub, job_id: str, after: int, heartbeat_s: float, closing: threading.Event
) -> AsyncIterator[str]:
    """Yield the text of an event stream.

    Ends after the job has ended and its last event was sent, or without the `end` message once
    `closing` is set: the reader then connects again with its Last-Event-ID.

    Args:
        hub: reads the job.
        job_id: the job.
        after: number of the last event that the reader has.
        heartbeat_s: longest silence.
        closing: set when the service stops.
    """
    yield "retry: 1000\n\n"
    batch = await hub.read(job_id, after)
    while batch.events and not closing.is_set():
        yield "".join(message(event) for event in batch.events)
        after = batch.events[-1].id
        batch = await hub.read(job_id, after)
    async with hub.watch(job_id, after, batch.status) as feed:
        async for text in _live(hub, job_id, feed, after, heartbeat_s, closing):
            yield text


async def _live(
    hub: EventHub,
    job_id: str,
    feed: JobFeed,
    after: int,
    heartbeat_s: float,
    closing: threading.Event,
) -> AsyncIterator[str]:
    spoke_at = time.monotonic()
    while not closing.is_set():
        if after < feed.last:
            newest = feed.last
            text = feed.after(after)
            if text is None:
                # Too slow for what is kept, or here before the feed began.
                batch = await hub.read(job_id, after)
                text = "".join(message(event) for event in batch.events)
                newest = batch.events[-1].id
            yield text
            after = newest
            spoke_at = time.monotonic()
        elif feed.is_over:
            if not feed.is_broken:
                yield f"event: {END}\ndata: {json.dumps({'status': feed.status})}\n\n"
            return
        elif not await feed.news(max(0.0, spoke_at + heartbeat_s - time.monotonic())):
            yield ": still here\n\n"
            spoke_at = time.monotonic()
