"""`/v1/files`: data sets for jobs."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, UploadFile

from alignment_api.auth.access import Caller, allow
from alignment_api.errors import ERROR_RESPONSES
from alignment_api.files.schemas import DataFile, DataFileList
from alignment_api.files.service import FileService

router = APIRouter(
    prefix="/v1/files",
    tags=["files"],
    responses={status: ERROR_RESPONSES[status] for status in (400, 503)},
)


def _service(request: Request) -> FileService:
    return request.app.state.files


Service = Annotated[FileService, Depends(_service)]
Reader = Annotated[Caller, Depends(allow("read"))]
Submitter = Annotated[Caller, Depends(allow("submit"))]


@router.post("", status_code=201, responses={413: ERROR_RESPONSES[413]})
def upload_file(file: UploadFile, service: Service, caller: Submitter) -> DataFile:
    """Upload a JSONL file as the form field `file`. Every line is checked."""
    return service.upload(file.file, file.filename or "upload.jsonl", caller.project_id)


@router.get("")
def list_files(service: Service, caller: Reader) -> DataFileList:
    """Uploaded files, newest first."""
    return DataFileList(data=service.page(1000, None, caller.project_id))


@router.get("/{file_id}", responses={404: ERROR_RESPONSES[404]})
def get_file(file_id: str, service: Service, caller: Reader) -> DataFile:
    """One uploaded file."""
    return service.get(file_id, caller.project_id)
