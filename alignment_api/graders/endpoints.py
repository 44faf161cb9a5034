"""`/v1/graders`: check and try a reward without a job."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request

from alignment_api.errors import ERROR_RESPONSES
from alignment_api.graders.schemas import CheckedGrader, GraderRun, RunGrader, ValidateGrader
from alignment_api.graders.service import GraderService

router = APIRouter(prefix="/v1/graders", tags=["graders"], responses={400: ERROR_RESPONSES[400]})


def _service(request: Request) -> GraderService:
    return request.app.state.graders


Service = Annotated[GraderService, Depends(_service)]


@router.post("/validate")
def validate_grader(body: ValidateGrader, service: Service) -> CheckedGrader:
    """Check a reward specification, and rows of data against it. Nothing is scored."""
    return service.validate(body)


@router.post("/run")
def run_grader(body: RunGrader, service: Service) -> GraderRun:
    """Score answers with a reward specification. A score that is missing says why."""
    return service.run(body)
