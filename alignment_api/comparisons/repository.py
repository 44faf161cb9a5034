"""Comparisons in the store; their jobs' states are stored only with the jobs."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from alignment_api.errors import ComparisonNotFoundError
from alignment_api.store import Store
from alignment_api.store.tables import comparisons, jobs
from essa.comparison.spec import ComparisonSpec, PlannedRun, with_warm_start
from essa.records.folder import WARM_START_FOLDER
from essa.spec import AlignmentJobSpec

COMPARISON_PREFIX = "cmp-"


class StoredRun(NamedTuple):
    """A run and its job."""

    arm: str
    seed: int
    job_id: str


def new_comparison_id() -> str:
    """Make a unique id."""
    return COMPARISON_PREFIX + secrets.token_hex(8)


def queue_runs(
    runs: Sequence[PlannedRun],
    run_dir: Callable[[str], Path],
    queue: Callable[[PlannedRun, AlignmentJobSpec, str | None], str],
) -> list[StoredRun]:
    """Queue the jobs of a comparison. For each seed, all but the first wait for its warm start.

    Args:
        runs: in the order in which they will run.
        run_dir: returns the run folder of a job id.
        queue: queues a run's job with the id of the job to wait for, if any; returns the new id.
    """
    ids: dict[tuple[str, int], str] = {}
    for run in runs:
        spec, maker = run.spec, None
        if run.warm_start_of is not None:
            maker = ids[run.warm_start_of, run.seed]
            spec = with_warm_start(spec, str(run_dir(maker) / WARM_START_FOLDER))
        ids[run.arm, run.seed] = queue(run, spec, maker)
    return [StoredRun(arm, seed, job_id) for (arm, seed), job_id in ids.items()]


def add_comparison(
    connection: Connection,
    comparison_id: str,
    spec: ComparisonSpec,
    project_id: str,
    runs: Sequence[StoredRun],
) -> None:
    """Add a comparison, or replace the one with this id, within the caller's transaction."""
    connection.execute(sa.delete(comparisons).where(comparisons.c.id == comparison_id))
    connection.execute(
        sa.insert(comparisons).values(
            id=comparison_id,
            project_id=project_id,
            name=spec.name,
            created_at=time.time(),
            spec=spec.model_dump_json(),
            runs=json.dumps([run._asdict() for run in runs]),
        )
    )


class ComparisonRepository:
    """Reads comparisons."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def get(self, comparison_id: str, project_id: str) -> RowMapping:
        """Return the row of a comparison.

        Raises:
            ComparisonNotFoundError: no such comparison, or it belongs to another project.
        """
        is_it = (comparisons.c.id == comparison_id) & (comparisons.c.project_id == project_id)
        rows = self._store.read(sa.select(comparisons).where(is_it))
        if not rows:
            raise ComparisonNotFoundError(f"there is no comparison {comparison_id}")
        return rows[0]

    def page(self, limit: int, after: str | None, project_id: str) -> list[RowMapping]:
        """Return up to `limit` of a project's comparisons older than `after`, newest first."""
        query = sa.select(comparisons).where(comparisons.c.project_id == project_id)
        if after is not None:
            query = query.where(comparisons.c.number < self.get(after, project_id)["number"])
        return list(self._store.read(query.order_by(comparisons.c.number.desc()).limit(limit)))

    def job_statuses(self, rows: Sequence[RowMapping]) -> dict[str, str]:
        """Return the states of all jobs of some comparisons, by job id."""
        ids = [run.job_id for row in rows for run in runs_of(row)]
        query = sa.select(jobs.c.id, jobs.c.status).where(jobs.c.id.in_(ids))
        return {row["id"]: row["status"] for row in self._store.read(query)}


def runs_of(row: RowMapping) -> list[StoredRun]:
    """Return the runs of a comparison in the order in which they run."""
    return [StoredRun(**run) for run in json.loads(row["runs"])]


def spec_of(row: RowMapping) -> ComparisonSpec:
    """Return the specification of a comparison, without fields that this version does not know."""
    content: dict[str, Any] = json.loads(row["spec"])
    return ComparisonSpec.model_validate(content, extra="ignore")
