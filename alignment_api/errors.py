"""Errors of the service, and what each becomes over HTTP.

EssaError
├── StoreError               the store cannot be opened or used
├── HomeInUseError           another process serves this home
├── UploadedFileNotFoundError
└── ApiRequestError          (CLI) the service refused a request or cannot be reached

The body is OpenAI's envelope: `{"error": {"message", "type", "param", "code"}}`. The handlers that
answer with it stand in `error_handlers.py`: job processes and the CLI do without FastAPI.
"""

from __future__ import annotations

import sqlite3
from typing import Any

from pydantic import BaseModel

from essa.errors import (
    AdapterError,
    DataError,
    EssaError,
    JobConflictError,
    JobError,
    JobNotFoundError,
    SpecError,
)


class StoreError(EssaError):
    """The store cannot be opened or used."""

    code = "store_error"


class HomeInUseError(EssaError):
    """Another process serves this home."""

    code = "home_in_use"


class UploadedFileNotFoundError(EssaError):
    """No such uploaded file."""

    code = "file_not_found"


class ApiRequestError(EssaError):
    """The service refused a request, or cannot be reached."""

    code = "request_failed"


STATUS_BY_ERROR: dict[type[Exception], int] = {
    SpecError: 400,
    DataError: 400,
    AdapterError: 400,
    JobNotFoundError: 404,
    UploadedFileNotFoundError: 404,
    JobConflictError: 409,
    JobError: 400,
    StoreError: 503,
    sqlite3.Error: 503,
    EssaError: 500,
}
"""The nearest class in the error's own order of inheritance decides."""


class ErrorBody(BaseModel):
    """What went wrong."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorEnvelope(BaseModel):
    """OpenAI's error object."""

    error: ErrorBody


ERROR_RESPONSES: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorEnvelope, "description": "The request cannot be met as written."},
    404: {"model": ErrorEnvelope, "description": "No such object."},
    409: {"model": ErrorEnvelope, "description": "The object's state does not allow this."},
    413: {"model": ErrorEnvelope, "description": "The body is larger than ESSA_MAX_UPLOAD_BYTES."},
    503: {"model": ErrorEnvelope, "description": "The store or the queue is not working."},
}


def status_of(error: Exception) -> int:
    """HTTP status of an error."""
    for kind in type(error).__mro__:
        if kind in STATUS_BY_ERROR:
            return STATUS_BY_ERROR[kind]
    return 500
