"""`/v1/files`: data sets for jobs."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Form, Query, Request, UploadFile
from fastapi.responses import FileResponse

from alignment_api.auth.access import Reader, Submitter
from alignment_api.errors import responses
from alignment_api.files.schemas import DataFile, DataFileList, DeletedFile
from alignment_api.files.service import FileService

JSONL = "application/jsonl"
UPLOAD_ROUTE = "/v1/files"

router = APIRouter(
    prefix=UPLOAD_ROUTE, tags=["files"], responses=responses(400, 401, 403, 413, 429, 503)
)


def _service(request: Request) -> FileService:
    return request.app.state.files


Service = Annotated[FileService, Depends(_service)]


@router.post("")
def upload_file(
    file: UploadFile,
    service: Service,
    caller: Submitter,
    purpose: Annotated[Literal["fine-tune"], Form()] = "fine-tune",
) -> DataFile:
    """Upload a JSONL file as the form field `file`. Every line is checked."""
    return service.upload(file.file, file.filename or "upload.jsonl", caller.project_id, purpose)


@router.get("", responses=responses(404))
def list_files(
    service: Service,
    caller: Reader,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 1000,
    after: Annotated[str | None, Query(max_length=100, pattern=r"^[^\x00]*$")] = None,
    order: Literal["asc", "desc"] = "desc",
    purpose: Annotated[str | None, Query(max_length=32, pattern=r"^[^\x00]*$")] = None,
) -> DataFileList:
    """Uploaded files, newest first. `after` is the id of the last file on the previous page."""
    return service.page(
        limit, after, caller.project_id, purpose=purpose, is_newest_first=order == "desc"
    )


@router.get("/{file_id}", responses=responses(404))
def get_file(file_id: str, service: Service, caller: Reader) -> DataFile:
    """One uploaded file."""
    return service.get(file_id, caller.project_id)


@router.get(
    "/{file_id}/content",
    response_class=FileResponse,
    responses=responses(404) | {200: {"content": {JSONL: {}}, "description": "The file."}},
)
def get_content(file_id: str, service: Service, caller: Reader) -> FileResponse:
    """The content of a file, as it was uploaded."""
    file = service.get(file_id, caller.project_id)
    return FileResponse(
        service.resolve(file_id, caller.project_id), media_type=JSONL, filename=file.filename
    )


@router.delete("/{file_id}", responses=responses(404, 409))
def delete_file(file_id: str, service: Service, caller: Submitter) -> DeletedFile:
    """Delete a file that no unfinished job needs."""
    return service.remove(file_id, caller.project_id)
