"""Comparisons in the store; the states of their jobs are the jobs' own."""

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
    """An id that no other comparison has."""
    return COMPARISON_PREFIX + secrets.token_hex(8)


def queue_runs(
    runs: Sequence[PlannedRun],
    run_dir: Callable[[str], Path],
    queue: Callable[[PlannedRun, AlignmentJobSpec, str | None], str],
) -> list[StoredRun]:
    """Queue the jobs of a comparison. All but the first of a seed wait for its warm start.

    Args:
        runs: in the order in which they run.
        run_dir: folder of a job's run.
        queue: queues the job of a run, which waits for another one, and returns its id.
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
    """Add a comparison, or replace the one of this id, inside a transaction of the caller."""
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
        """The row of a comparison.

        Raises:
            ComparisonNotFoundError: no such comparison, or of another project.
        """
        is_it = (comparisons.c.id == comparison_id) & (comparisons.c.project_id == project_id)
        rows = self._store.read(sa.select(comparisons).where(is_it))
        if not rows:
            raise ComparisonNotFoundError(f"there is no comparison {comparison_id}")
        return rows[0]

    def page(self, limit: int, after: str | None, project_id: str) -> list[RowMapping]:
        """Up to `limit` comparisons of a project, newest first, older than `after`."""
        query = sa.select(comparisons).where(comparisons.c.project_id == project_id)
        if after is not None:
            query = query.where(comparisons.c.number < self.get(after, project_id)["number"])
        return list(self._store.read(query.order_by(comparisons.c.number.desc()).limit(limit)))

    def job_statuses(self, rows: Sequence[RowMapping]) -> dict[str, str]:
        """By id, the states of all jobs of some comparisons."""
        ids = [run.job_id for row in rows for run in runs_of(row)]
        query = sa.select(jobs.c.id, jobs.c.status).where(jobs.c.id.in_(ids))
        return {row["id"]: row["status"] for row in self._store.read(query)}


def runs_of(row: RowMapping) -> list[StoredRun]:
    """The runs of a comparison in the order in which they run."""
    return [StoredRun(**run) for run in json.loads(row["runs"])]


def spec_of(row: RowMapping) -> ComparisonSpec:
    """Its specification. Fields that this version does not know are left out."""
    content: dict[str, Any] = json.loads(row["spec"])
    return ComparisonSpec.model_validate(content, extra="ignore")
