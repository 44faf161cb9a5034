"""`/v1/fine_tuning/jobs/ID/...`: events, checkpoints and generations of a job."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.responses import Response, StreamingResponse

from alignment_api.auth.access import Reader
from alignment_api.errors import responses
from alignment_api.events.service import JobEventService
from alignment_api.events.stream import stream_events
from alignment_api.jobs.answers import CheckpointList, FineTuningEventList, GenerationList
from essa.errors import SpecError

router = APIRouter(
    prefix="/v1/fine_tuning/jobs/{job_id}",
    tags=["events"],
    responses=responses(400, 401, 403, 404, 429, 503),
)

EVENT_STREAM = "text/event-stream"
_LARGEST = 2**31 - 1


def _service(request: Request) -> JobEventService:
    return request.app.state.job_events


Service = Annotated[JobEventService, Depends(_service)]
After = Annotated[str | None, Query(max_length=100)]


@router.get(
    "/events",
    response_model=FineTuningEventList,
    responses={200: {"content": {EVENT_STREAM: {}}, "description": "A list, or a live stream."}},
)
def list_events(
    request: Request,
    job_id: str,
    service: Service,
    caller: Reader,
    after: After = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 20,
    order: Literal["asc", "desc"] = "desc",
    stream: bool = False,
    accept: Annotated[str, Header(include_in_schema=False)] = "",
    last_event_id: Annotated[str | None, Header()] = None,
) -> FineTuningEventList | Response:
    """Events, newest first: a list, or a live stream for `Accept: text/event-stream` or `stream`.

    The stream starts with past events, oldest first, or after `Last-Event-ID`, continues with new
    ones, and closes with a message named `end` when the job is over.
    """
    if not stream and EVENT_STREAM not in accept:
        is_newest_first = order == "desc"
        return service.page(
            job_id, caller.project_id, limit, after, is_newest_first=is_newest_first
        )
    service.status(job_id, caller.project_id)
    state = request.app.state
    first = 0 if last_event_id is None else service.place(job_id, _event_number(last_event_id))
    return StreamingResponse(
        stream_events(state.hub, job_id, first, state.settings.heartbeat_s, state.closing),
        media_type=EVENT_STREAM,
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


@router.get("/checkpoints")
def list_checkpoints(
    job_id: str,
    service: Service,
    caller: Reader,
    after: After = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 10,
) -> CheckpointList:
    """One checkpoint per validated generation, newest first.

    Jobs that search all weights of their adapter keep no checkpoint but the result.
    """
    return service.checkpoints(job_id, caller.project_id, limit, after)


@router.get("/generations")
def list_generations(
    job_id: str,
    service: Service,
    caller: Reader,
    after: Annotated[int, Query(ge=0, le=_LARGEST)] = 0,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 1000,
) -> GenerationList:
    """Finished generations in order, each with every candidate's fitness."""
    return service.generations(job_id, caller.project_id, limit, after)


def _event_number(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > len(str(_LARGEST)):
        raise SpecError(
            f"Last-Event-ID is {text!r}; it must be the number of an event", field="last-event-id"
        )
    return min(int(text), _LARGEST)
