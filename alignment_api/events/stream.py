"""Server-sent events of one job: first past events, then new ones."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import AsyncIterator

from alignment_api.events.feed import EventHub

END = "end"
"""Name of the last message; its data is the job's final status. It has no id."""


async def stream_events(
    hub: EventHub, job_id: str, after: int, heartbeat_s: float, closing: threading.Event
) -> AsyncIterator[str]:
    """Yield the text of an event stream.

    Ends after the last event of an ended job was sent, or without the `end` message once `closing`
    is set; the client then reconnects with its Last-Event-ID.

    Args:
        hub: provides the job's feed.
        job_id: the job.
        after: number of the last event that the client has.
        heartbeat_s: maximum seconds of silence.
        closing: set when the service stops.
    """
    yield "retry: 1000\n\n"
    async with hub.watch(job_id, after) as feed:
        spoke_at = time.monotonic()
        while not closing.is_set():
            if after < feed.last:
                messages = feed.after(after)
                if messages is None:
                    messages = (await hub.read(job_id, after)).messages
                yield "".join(message.text for message in messages)
                after = messages[-1].number
                spoke_at = time.monotonic()
            elif feed.is_over:
                if not feed.is_broken:
                    yield f"event: {END}\ndata: {json.dumps({'status': feed.status})}\n\n"
                return
            elif not await feed.news(max(0.0, spoke_at + heartbeat_s - time.monotonic())):
                yield ": still here\n\n"
                spoke_at = time.monotonic()
