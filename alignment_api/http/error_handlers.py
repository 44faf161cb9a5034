"""Answer every error of the application with the envelope of `errors.py`."""

from __future__ import annotations

import logging
import math

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from alignment_api.errors import ErrorBody, ErrorEnvelope, InvalidKeyError, status_of
from alignment_api.observability.context import REQUEST_ID_HEADER
from essa.errors import EssaError, MachineError, SpecError
from essa.spec.reading.problem import Problem, problems_of
from essa.storage.faults import full_disk

logger = logging.getLogger(__name__)


def install_error_handlers(app: FastAPI) -> None:
    """Answer every error of `app` with the envelope."""
    app.add_exception_handler(EssaError, known_error)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(OSError, _system_error)
    app.add_exception_handler(Exception, _unknown_error)


def envelope(status: int, message: str, code: str | None, param: str | None = None) -> JSONResponse:
    """Make the error response for a status."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    body = ErrorEnvelope(error=ErrorBody(message=message, type=kind, param=param, code=code))
    return JSONResponse(body.model_dump(), status_code=status)


async def known_error(request: Request, error: Exception) -> JSONResponse:
    """Make the response for one of our own errors."""
    if not isinstance(error, EssaError):
        return await _unknown_error(request, error)
    status = status_of(error)
    request.state.error_code = error.code
    if isinstance(error, MachineError):  # not a bug, so a traceback would explain nothing
        logger.error("%s %s refused: %s", request.method, request.url.path, error.message)
    elif status >= 500:
        logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
    answer = envelope(status, error.message, error.code, error.detail.get("field"))
    if "retry_after_s" in error.detail:
        answer.headers["Retry-After"] = str(math.ceil(error.detail["retry_after_s"]))
    if isinstance(error, InvalidKeyError):
        answer.headers["WWW-Authenticate"] = "Bearer"
    return answer


async def _invalid_request(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, RequestValidationError):
        return await _unknown_error(request, error)
    request.state.error_code = SpecError.code
    problems = [problem.without_prefix() for problem in _request_problems(error)]
    message = "; ".join(str(problem) for problem in problems)
    return envelope(400, message, SpecError.code, problems[0].field or None)


def _request_problems(error: RequestValidationError) -> list[Problem]:
    errors = error.errors()
    if errors and errors[0].get("type") == "json_invalid":
        reason = errors[0].get("ctx", {}).get("error", "unreadable")
        return [Problem("", None, f"the body is not valid JSON: {reason}")]
    return problems_of(errors, {"body": error.body})


async def _http_error(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        return await _unknown_error(request, error)
    message = f"{request.method} {request.url.path}: {error.detail}"
    codes = {404: "unknown_route", 405: "method_not_allowed", 413: "body_too_large"}
    response = envelope(error.status_code, message, codes.get(error.status_code, "http_error"))
    response.headers.update(error.headers or {})
    return response


async def _system_error(request: Request, error: Exception) -> JSONResponse:
    told = full_disk(error, [request.app.state.settings.home])
    if told is None:
        raise error
    return await known_error(request, told)


async def _unknown_error(request: Request, error: Exception) -> JSONResponse:
    # Starlette raises the error again after this response, so the server's log has the traceback.
    request_id = getattr(request.state, "request_id", None)
    message = (
        f"{request.method} {request.url.path} failed; the server's log has the cause beside the "
        f"request id {request_id}"
    )
    answer = envelope(500, message, "internal_error")
    if request_id is not None:  # this answer bypasses the middleware that adds the header
        answer.headers[REQUEST_ID_HEADER] = request_id
    return answer
