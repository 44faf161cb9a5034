"""`/v1/fine_tuning/jobs/{id}`: exports and model cards of a job."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import FileResponse, PlainTextResponse

from alignment_api.auth.access import Submitter
from alignment_api.errors import responses
from alignment_api.exports.schemas import Export, ExportList
from alignment_api.exports.service import ExportService
from alignment_api.records.access import Job, find_job
from essa.spec.export import ExportSpec

router = APIRouter(
    prefix="/v1/fine_tuning/jobs/{job_id}",
    tags=["exports"],
    responses=responses(400, 401, 403, 404, 429, 503),
)


def _service(request: Request) -> ExportService:
    return request.app.state.exports


Service = Annotated[ExportService, Depends(_service)]
Wanted = Annotated[ExportSpec, Query()]

_ZIP = {200: {"content": {"application/zip": {}}, "description": "The archive."}}
_MARKDOWN = {200: {"content": {"text/markdown": {}}, "description": "The model card."}}


@router.get("/export", response_class=FileResponse, responses=_ZIP | responses(409))
def get_export(job: Job, service: Service, wanted: Wanted) -> FileResponse:
    """The archive of an export. Adapters are always available; start other formats with a POST."""
    archive = service.archive(job, wanted)
    return FileResponse(
        archive, media_type="application/zip", filename=f"{job.id}-{wanted.key}.zip"
    )


@router.post("/exports", status_code=202, responses=responses(409))
def create_export(
    request: Request, job_id: str, caller: Submitter, service: Service, wanted: ExportSpec
) -> Export:
    """Make an export in the background. A finished or running one is returned as it is."""
    return service.order(find_job(request, job_id, caller.project_id), wanted)


@router.get("/exports")
def list_exports(job: Job, service: Service) -> ExportList:
    """Exports of a job with their states, oldest first."""
    return service.all(job)


@router.get("/model_card", response_class=PlainTextResponse, responses=_MARKDOWN | responses(409))
def get_model_card(job: Job, service: Service, wanted: Wanted) -> PlainTextResponse:
    """The model card of an export, even if the export has not been made."""
    return PlainTextResponse(service.model_card(job, wanted), media_type="text/markdown")
