"""Server-sent events of one job: what has happened, then what happens."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import AsyncIterator

import anyio
import anyio.to_thread

from alignment_api.jobs.events import EventBatch
from alignment_api.jobs.schemas import JobEvent
from alignment_api.jobs.service import JobService
from alignment_api.settings import Settings

_BATCH = 200
END = "end"
"""Name of the last message; its data is the job's final status. It has no id."""


async def stream_events(
    service: JobService,
    job_id: str,
    after: int,
    settings: Settings,
    closing: threading.Event,
) -> AsyncIterator[str]:
    """Yield the text of an event stream.

    Ends after the job has ended and its last event was sent, or without the `end` message once
    `closing` is set: the reader then connects again with its Last-Event-ID. Looks at the store in
    a thread, so that other requests go on.
    """
    yield "retry: 1000\n\n"
    spoke_at = time.monotonic()
    while not closing.is_set():
        batch: EventBatch = await anyio.to_thread.run_sync(service.events, job_id, after, _BATCH)
        for event in batch.events:
            yield _message(event)
            after = event.id
            spoke_at = time.monotonic()
        if batch.has_more:
            continue
        if batch.status.is_terminal:
            yield f"event: {END}\ndata: {json.dumps({'status': batch.status})}\n\n"
            return
        if time.monotonic() - spoke_at >= settings.heartbeat_s:
            yield ": still here\n\n"
            spoke_at = time.monotonic()
        await anyio.sleep(settings.poll_s)


def _message(event: JobEvent) -> str:
    # ASCII only: readers may break lines at U+2028 and the like, which JSON allows in strings.
    data = json.dumps(event.model_dump(mode="json"))
    return f"id: {event.id}\nevent: {event.type}\ndata: {data}\n\n"
