"""`/v1/fine_tuning`: records of a job's run."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request

from alignment_api.errors import responses
from alignment_api.records import metrics, run_records
from alignment_api.records.access import Events, Job, Reader, RunDir, find_job
from alignment_api.records.rollouts import RolloutFilter, find_rollouts
from alignment_api.records.schemas import (
    Comparison,
    Metrics,
    RolloutPage,
    SingularValues,
    Timeline,
)
from essa.errors import SpecError

router = APIRouter(
    prefix="/v1/fine_tuning", tags=["records"], responses=responses(400, 401, 403, 404, 429, 503)
)

MOST_COMPARED = 20

_LARGEST = 2**31 - 1
Number = Annotated[int | None, Query(ge=0, le=_LARGEST)]
After = Annotated[int, Query(ge=-1, le=_LARGEST)]
Score = Annotated[float | None, Query(allow_inf_nan=False)]


@router.get("/jobs/{job_id}/rollouts")
def list_rollouts(
    run_dir: RunDir,
    set: Literal["train", "validation", "test"] | None = None,
    generation: Number = None,
    candidate: Number = None,
    model: Literal["base", "warm_start", "aligned"] | None = None,
    prompt: Number = None,
    min_score: Score = None,
    max_score: Score = None,
    q: Annotated[str | None, Query(max_length=500)] = None,
    after: After = -1,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> RolloutPage:
    """Completions with their scores, oldest first.

    `q` is searched in prompt and completion, ignoring case; `prompt` is a line number in the data
    set. `after` is the `n` of the last one seen.
    """
    wanted = RolloutFilter(
        set=set,
        generation=generation,
        candidate=candidate,
        model=model,
        prompt=prompt,
        min_score=min_score,
        max_score=max_score,
        text=q,
    )
    return find_rollouts(run_dir, wanted, after, limit)


@router.get("/jobs/{job_id}/singular_values", responses=responses(409))
def get_singular_values(job: Job, run_dir: RunDir, generation: Number = None) -> SingularValues:
    """Relative change of every singular value, by default in the newest generation."""
    return run_records.singular_values(job, run_dir, generation)


@router.get("/jobs/{job_id}/timeline")
def get_timeline(
    run_dir: RunDir,
    after: After = -1,
    limit: Annotated[int, Query(ge=1, le=50_000)] = 10_000,
) -> Timeline:
    """Work items of each engine with their times. `after` is the `n` of the last item seen."""
    return run_records.timeline(run_dir, after, limit)


@router.get("/jobs/{job_id}/metrics")
def get_metrics(job: Job, events: Events) -> Metrics:
    """Scores over time, device time, tokens and samples."""
    return Metrics(points=metrics.points(job.id, events))


@router.get("/compare")
def compare_jobs(
    request: Request,
    caller: Reader,
    events: Events,
    jobs: Annotated[str, Query(max_length=2000)],
) -> Comparison:
    """Several jobs side by side; `jobs` is a comma-separated list of their ids."""
    ids = list(dict.fromkeys(part.strip() for part in jobs.split(",") if part.strip()))
    if not 1 <= len(ids) <= MOST_COMPARED:
        raise SpecError(
            f"jobs names {len(ids)} jobs; name 1 to {MOST_COMPARED}, separated by commas",
            field="jobs",
        )
    found = [find_job(request, job_id, caller.project_id) for job_id in ids]
    return Comparison(data=[metrics.compared(job, events) for job in found])
