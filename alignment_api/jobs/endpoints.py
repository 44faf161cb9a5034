"""`/v1/fine_tuning/jobs`: create, find and steer alignment jobs."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from pydantic import TypeAdapter, ValidationError

from alignment_api.auth.access import Reader, Submitter
from alignment_api.errors import responses
from alignment_api.jobs.answers import FineTuningJob, FineTuningJobList, Validation
from alignment_api.jobs.request_identity import Identity
from alignment_api.jobs.requests import (
    CloneRequest,
    CreateRequest,
    MetadataKey,
    SpecificationRequest,
)
from alignment_api.jobs.service import JobService
from alignment_api.store.job_status import JobStatus
from essa.errors import SpecError

router = APIRouter(
    prefix="/v1/fine_tuning/jobs",
    tags=["jobs"],
    responses=responses(400, 401, 403, 413, 429, 503),
)

_MISSING = responses(404)
_CONFLICT = responses(404, 409)
_metadata_key: TypeAdapter[str] = TypeAdapter(MetadataKey)


def _service(request: Request) -> JobService:
    return request.app.state.jobs


def _metadata(request: Request) -> dict[str, str]:
    """Return the query's parameters of the form `metadata[colour]=red`."""
    found = {}
    for name, value in request.query_params.multi_items():
        if name.startswith("metadata[") and name.endswith("]"):
            key = name.removeprefix("metadata[").removesuffix("]")
            try:
                found[_metadata_key.validate_python(key)] = value
            except ValidationError as error:
                raise SpecError(f"{name} is no metadata that a job can have", field=name) from error
    return found


Service = Annotated[JobService, Depends(_service)]
Text = Annotated[str | None, Query(max_length=200, pattern=r"^[^\x00]*$")]


@router.post("", responses=responses(409))
def create_job(
    body: CreateRequest,
    caller: Submitter,
    service: Service,
    identity: Identity,
    validate_only: bool = False,
) -> FineTuningJob | Validation:
    """Queue a job after checking its files, columns and reward.

    Takes OpenAI's request, or a whole specification. A repeated request, with the same
    `Idempotency-Key` or from a client that got no answer, creates no second job. With
    `validate_only` nothing is queued: the answer describes the job that would be.
    """
    if validate_only:
        return service.validate(body, caller)
    return service.create(body, caller, identity)


@router.get("", responses=_MISSING)
def list_jobs(
    caller: Reader,
    service: Service,
    metadata: Annotated[dict[str, str], Depends(_metadata)],
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    after: Text = None,
    status: JobStatus | None = None,
    q: Text = None,
) -> FineTuningJobList:
    """Jobs, newest first. `after` is the id of the last job on the previous page.

    `q` is searched in names and ids; `metadata[KEY]=VALUE` filters by a metadata value.
    """
    statuses = [status] if status else []
    return service.page(
        limit, after, caller.project_id, statuses=statuses, name=q, metadata=metadata
    )


@router.get("/schema")
def get_job_schema(caller: Reader) -> dict[str, Any]:
    """The JSON Schema of a whole specification, as accepted by `POST /v1/fine_tuning/jobs`."""
    return _schema()


@router.get("/{job_id}", responses=_MISSING)
def get_job(job_id: str, caller: Reader, service: Service) -> FineTuningJob:
    """One job."""
    return service.get(job_id, caller.project_id)


@router.post("/{job_id}/cancel", responses=_CONFLICT)
def cancel_job(job_id: str, caller: Submitter, service: Service) -> FineTuningJob:
    """Cancel a waiting job at once; a running one stops after its current work item. Idempotent."""
    return service.cancel(job_id, caller.project_id)


@router.post("/{job_id}/pause", responses=_CONFLICT)
def pause_job(job_id: str, caller: Submitter, service: Service) -> FineTuningJob:
    """Pause a queued job at once; a running one stops after its work item and frees its engines."""
    return service.pause(job_id, caller.project_id)


@router.post("/{job_id}/resume", responses=_CONFLICT)
def resume_job(job_id: str, caller: Submitter, service: Service) -> FineTuningJob:
    """Queue a paused job again; it resumes from its last generation as if it had not stopped.

    A job that failed with the code `storage` or `unfit_machine` resumes too, once that is fixed.
    """
    return service.resume(job_id, caller.project_id)


@router.post("/{job_id}/clone", responses=_CONFLICT)
def clone_job(
    job_id: str, body: CloneRequest, caller: Submitter, service: Service, identity: Identity
) -> FineTuningJob:
    """Queue a copy of a job with changes to its specification."""
    return service.clone(job_id, body, caller, identity)


@cache
def _schema() -> dict[str, Any]:
    return SpecificationRequest.model_json_schema()
