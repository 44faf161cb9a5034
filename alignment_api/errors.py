"""Errors of the service, and the HTTP status of each.

EssaError
├── StoreError               the store cannot be opened or used
│   └── DuplicateError       a row with this unique value exists
├── HomeInUseError           another process serves this home
├── UploadedFileNotFoundError
├── ProjectNotFoundError
├── ComparisonNotFoundError
├── RecordNotFoundError      the run has no such record
├── KeyNotFoundError
├── InvalidKeyError          the API key is missing or not valid
├── InsufficientScopeError   the key may not do this
├── RateLimitError           too many requests
├── MethodNotAvailableError  a fine-tuning method that this service does not offer
├── KeyReuseError            an Idempotency-Key was reused with a different request
├── FileInUseError           an unfinished job needs the file
├── UnstorableError          a value that the database cannot store
├── ModelNotFoundError       no such model in the caller's project
├── NotServedError           a listed model that this service cannot run
├── ContextLengthError       (SpecError) a prompt longer than the model's context
├── ModelServerError         a model's server did not start, or stopped
└── ApiRequestError          (CLI) the service refused a request or cannot be reached

The body is OpenAI's envelope: `{"error": {"message", "type", "param", "code"}}`. The handlers that
answer with it stand in `error_handlers.py`: job processes and the CLI run without FastAPI.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from essa.errors import (
    AdapterError,
    DataError,
    EssaError,
    JobConflictError,
    JobError,
    JobNotFoundError,
    MachineError,
    SpecError,
)


class StoreError(EssaError):
    """The store cannot be opened or used."""

    code = "store_error"


class DuplicateError(StoreError):
    """A row with the same unique value exists."""

    code = "duplicate"


class HomeInUseError(EssaError):
    """Another process serves this home."""

    code = "home_in_use"


class UploadedFileNotFoundError(EssaError):
    """No such uploaded file."""

    code = "file_not_found"


class ProjectNotFoundError(EssaError):
    """No such project."""

    code = "project_not_found"


class ComparisonNotFoundError(EssaError):
    """No such comparison."""

    code = "comparison_not_found"


class RecordNotFoundError(EssaError):
    """The run of a job has no such record."""

    code = "record_not_found"


class KeyNotFoundError(EssaError):
    """No such API key."""

    code = "key_not_found"


class InvalidKeyError(EssaError):
    """The API key is missing or not valid."""

    code = "invalid_api_key"


class InsufficientScopeError(EssaError):
    """The key may not do this."""

    code = "insufficient_scope"


class RateLimitError(EssaError):
    """Too many requests; `retry_after_s` is the number of seconds to wait before the next one."""

    code = "rate_limit_exceeded"


class MethodNotAvailableError(EssaError):
    """A fine-tuning method that this service does not offer."""

    code = "method_not_available"


class KeyReuseError(EssaError):
    """An Idempotency-Key was reused with a different request."""

    code = "idempotency_key_reuse"


class FileInUseError(EssaError):
    """An unfinished job needs the file."""

    code = "file_in_use"


class UnstorableError(EssaError):
    """A value that the database cannot store."""

    code = "invalid_value"


class ModelNotFoundError(EssaError):
    """No such model in the caller's project."""

    code = "model_not_found"


class NotServedError(EssaError):
    """A model that is listed but that this service cannot run; the message says why."""

    code = "model_not_served"


class ContextLengthError(SpecError):
    """The prompt is longer than the model's context."""

    code = "context_length_exceeded"


class ModelServerError(EssaError):
    """The process that serves a model did not start, or stopped in mid-answer."""

    code = "model_server_failed"


class ApiRequestError(EssaError):
    """The service refused a request, or cannot be reached."""

    code = "request_failed"


STATUS_BY_ERROR: dict[type[Exception], int] = {
    SpecError: 400,
    DataError: 400,
    AdapterError: 400,
    JobNotFoundError: 404,
    UploadedFileNotFoundError: 404,
    ProjectNotFoundError: 404,
    ComparisonNotFoundError: 404,
    RecordNotFoundError: 404,
    KeyNotFoundError: 404,
    InvalidKeyError: 401,
    InsufficientScopeError: 403,
    RateLimitError: 429,
    JobConflictError: 409,
    KeyReuseError: 409,
    FileInUseError: 409,
    MethodNotAvailableError: 400,
    UnstorableError: 400,
    ModelNotFoundError: 404,
    NotServedError: 400,
    ModelServerError: 503,
    JobError: 400,
    DuplicateError: 409,
    StoreError: 503,
    MachineError: 503,
    EssaError: 500,
}
"""HTTP status by error class; the first class in an error's MRO that is listed decides."""


class ErrorBody(BaseModel):
    """The error itself."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorEnvelope(BaseModel):
    """OpenAI's error object."""

    error: ErrorBody


ERROR_RESPONSES: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorEnvelope, "description": "The request cannot be met as written."},
    401: {"model": ErrorEnvelope, "description": "No valid API key."},
    403: {"model": ErrorEnvelope, "description": "The key may not do this."},
    404: {"model": ErrorEnvelope, "description": "No such object."},
    409: {"model": ErrorEnvelope, "description": "The object's state does not allow this."},
    413: {
        "model": ErrorEnvelope,
        "description": "The body is larger than ESSA_MAX_BODY_BYTES, or a "
        "file than ESSA_MAX_UPLOAD_BYTES.",
    },
    429: {"model": ErrorEnvelope, "description": "Too many requests; see Retry-After."},
    503: {
        "model": ErrorEnvelope,
        "description": "The store, the queue, a model or the machine does not work.",
    },
}


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Build an endpoint's error responses for its OpenAPI description."""
    return {status: ERROR_RESPONSES[status] for status in statuses}


def status_of(error: Exception) -> int:
    """Return the HTTP status of an error."""
    for kind in type(error).__mro__:
        if kind in STATUS_BY_ERROR:
            return STATUS_BY_ERROR[kind]
    return 500
