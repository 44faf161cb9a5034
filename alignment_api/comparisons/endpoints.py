"""`/v1/comparisons`: several methods on one task, created with one call."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response

from alignment_api.auth.access import Reader, Submitter
from alignment_api.comparisons.schemas import ComparisonDetails, ComparisonList
from alignment_api.comparisons.service import ComparisonService
from alignment_api.errors import responses
from alignment_api.jobs.request_identity import Identity
from essa.comparison.spec import ComparisonSpec

router = APIRouter(
    prefix="/v1/comparisons",
    tags=["comparisons"],
    responses=responses(400, 401, 403, 413, 429, 503),
)

_MISSING = responses(404)
_KINDS = {"html": "text/html; charset=utf-8", "md": "text/markdown; charset=utf-8"}
_REPORT_HEADERS = {
    # The page holds names that users chose, so no script may run in it.
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def _service(request: Request) -> ComparisonService:
    return request.app.state.comparisons


Service = Annotated[ComparisonService, Depends(_service)]
After = Annotated[str | None, Query(max_length=200, pattern=r"^[^\x00]*$")]


@router.post("", responses=responses(409))
def create_comparison(
    body: ComparisonSpec, caller: Submitter, service: Service, identity: Identity
) -> ComparisonDetails:
    """Queue every arm with every seed, after checking all of them.

    Arms share model, data, reward and warm start; the first job of a seed makes the warm start and
    the others wait for it. Repeating the request creates no second comparison.
    """
    return service.create(body, caller, identity)


@router.get("", responses=_MISSING)
def list_comparisons(
    caller: Reader,
    service: Service,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    after: After = None,
) -> ComparisonList:
    """Comparisons, newest first. `after` is the id of the last one on the previous page."""
    return service.page(limit, after, caller.project_id)


@router.get("/{comparison_id}", responses=_MISSING)
def get_comparison(comparison_id: str, caller: Reader, service: Service) -> ComparisonDetails:
    """One comparison: its jobs, and their results so far."""
    return service.get(comparison_id, caller.project_id)


@router.get(
    "/{comparison_id}/report",
    responses=_MISSING | {200: {"content": {"text/html": {}, "text/markdown": {}}}},
    response_class=Response,
)
def get_report(
    comparison_id: str, caller: Reader, service: Service, format: Literal["html", "md"] = "html"
) -> Response:
    """The report so far, as one file without scripts or external resources."""
    text = service.report(comparison_id, caller.project_id, format)
    return Response(text, headers=_REPORT_HEADERS | {"Content-Type": _KINDS[format]})


@router.post("/{comparison_id}/cancel", responses=_MISSING)
def cancel_comparison(comparison_id: str, caller: Submitter, service: Service) -> ComparisonDetails:
    """Cancel every job that has not ended. Idempotent."""
    return service.cancel(comparison_id, caller.project_id)
