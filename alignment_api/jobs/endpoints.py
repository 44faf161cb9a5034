"""`/v1/jobs`: alignment jobs."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.responses import FileResponse, Response, StreamingResponse

from alignment_api.auth.access import Caller, allow
from alignment_api.errors import ERROR_RESPONSES
from alignment_api.jobs.schemas import GenerationList, Job, JobEventList, JobList
from alignment_api.jobs.service import JobService
from alignment_api.jobs.stream import stream_events
from essa.errors import SpecError
from essa.spec import AlignmentJobSpec

router = APIRouter(
    prefix="/v1/jobs",
    tags=["jobs"],
    responses={status: ERROR_RESPONSES[status] for status in (400, 503)},
)

_MISSING = {404: ERROR_RESPONSES[404]}
_CONFLICT = {409: ERROR_RESPONSES[409]}


def _service(request: Request) -> JobService:
    return request.app.state.jobs


Service = Annotated[JobService, Depends(_service)]
Reader = Annotated[Caller, Depends(allow("read"))]
Submitter = Annotated[Caller, Depends(allow("submit"))]


@router.post("", status_code=201)
def create_job(spec: AlignmentJobSpec, service: Service, caller: Submitter) -> Job:
    """Queue a job. Its files, columns and reward are checked first."""
    return service.create(spec, caller.project_id)


@router.get("", responses=_MISSING)
def list_jobs(
    service: Service,
    caller: Reader,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    after: str | None = None,
) -> JobList:
    """Jobs, newest first. `after` is the id of the last job of the page before."""
    return service.page(limit, after, caller.project_id)


@router.get("/{job_id}", responses=_MISSING)
def get_job(job_id: str, service: Service) -> Job:
    """One job."""
    return service.get(job_id)


@router.post("/{job_id}/cancel", responses=_MISSING | _CONFLICT)
def cancel_job(job_id: str, service: Service) -> Job:
    """Cancel a queued job at once; a running one stops soon. Can be repeated."""
    return service.cancel(job_id)


@router.get(
    "/{job_id}/events",
    response_model=JobEventList,
    responses=_MISSING
    | {200: {"content": {"text/event-stream": {}}, "description": "A list, or a live stream."}},
)
def list_events(
    request: Request,
    job_id: str,
    service: Service,
    after: Annotated[int, Query(ge=0)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
    accept: Annotated[str, Header()] = "",
    last_event_id: Annotated[str | None, Header()] = None,
) -> JobEventList | Response:
    """Events after a number: a list, or with `Accept: text/event-stream` a live stream.

    The stream starts with what has already happened, continues after `Last-Event-ID`, and closes
    with a message named `end` when the job is over.
    """
    if "text/event-stream" not in accept:
        batch = service.events(job_id, after, limit)
        return JobEventList(data=batch.events, has_more=batch.has_more)
    service.get(job_id)
    state = request.app.state
    start = after if last_event_id is None else _event_number(last_event_id)
    return StreamingResponse(
        stream_events(service, job_id, start, state.settings, state.closing),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


@router.get("/{job_id}/generations", responses=_MISSING)
def list_generations(job_id: str, service: Service) -> GenerationList:
    """One entry per finished generation."""
    return GenerationList(data=service.generations(job_id))


@router.get("/{job_id}/adapter", response_class=FileResponse, responses=_MISSING | _CONFLICT)
def get_adapter(job_id: str, service: Service) -> FileResponse:
    """The aligned adapter as a zip of PEFT files."""
    archive = service.adapter_archive(job_id)
    return FileResponse(archive, media_type="application/zip", filename=f"{job_id}-adapter.zip")


def _event_number(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise SpecError(
            f"Last-Event-ID is {text!r}; it must be the number of an event", field="last-event-id"
        )
    return int(text)
