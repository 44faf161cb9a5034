"""Operations of the API on comparisons."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from contextlib import suppress

from sqlalchemy.engine import Connection, RowMapping

from alignment_api.auth.access import Caller
from alignment_api.comparisons.reports import ComparisonReports, ReportKind
from alignment_api.comparisons.repository import (
    ComparisonRepository,
    add_comparison,
    new_comparison_id,
    queue_runs,
    runs_of,
    spec_of,
)
from alignment_api.comparisons.results import results_of, tables_of
from alignment_api.comparisons.schemas import (
    Comparison,
    ComparisonDetails,
    ComparisonList,
    ComparisonRun,
    ComparisonStatus,
)
from alignment_api.jobs.creation import JobCreation, RequestIdentity
from alignment_api.jobs.insertion import NewJob, add_job
from alignment_api.jobs.repository import JobRepository
from alignment_api.jobs.service import JobService
from alignment_api.jobs.translation import JobRequest
from alignment_api.openai.page import ends
from alignment_api.settings import Settings
from alignment_api.store import Store
from alignment_api.store.job_status import JobStatus
from essa.comparison.spec import ComparisonSpec, PlannedRun, planned_runs
from essa.errors import JobConflictError
from essa.spec import AlignmentJobSpec


class ComparisonService:
    """Creates, returns and cancels comparisons of the caller's project. Blocking.

    Args:
        store: the store of comparisons and jobs.
        settings: the service's settings.
        jobs: used to check jobs.
        slots: engine slots of the service. Each job of a comparison takes all of them, so that
            nothing runs beside it and distorts its times.
        on_queued: called when jobs were queued.
    """

    def __init__(
        self,
        store: Store,
        settings: Settings,
        jobs: JobService,
        slots: int,
        on_queued: Callable[[], None],
    ) -> None:
        self._comparisons = ComparisonRepository(store)
        self._jobs = JobRepository(store)
        self._reports = ComparisonReports(store, settings)
        self._creation = JobCreation(store, settings.retry_window_s)
        self._settings = settings
        self._checks = jobs
        self._slots = slots
        self._on_queued = on_queued

    def create(
        self, spec: ComparisonSpec, caller: Caller, identity: RequestIdentity
    ) -> ComparisonDetails:
        """Check every job and queue all of them; a repeated request queues nothing again.

        Raises:
            SpecError: a job is invalid; the message names arm and field.
            InsufficientScopeError: a job contains user code, and the key may not send any.
            KeyReuseError: the Idempotency-Key was used with a different request.
        """
        earlier = self._creation.find(identity, caller.project_id)
        if earlier is not None:
            return self.get(earlier, caller.project_id)
        runs = planned_runs(spec)
        for run in runs:
            self._checks.check(JobRequest(run.spec, 0, {}, run.told), caller)

        def add(connection: Connection) -> str:
            return self._add(connection, spec, runs, caller.project_id)

        created = self._creation.create_by(identity, caller.project_id, add)
        if created.is_new:
            self._on_queued()
        return self.get(created.object_id, caller.project_id)

    def get(self, comparison_id: str, project_id: str) -> ComparisonDetails:
        """Return one comparison with its jobs' results so far.

        Raises:
            ComparisonNotFoundError: no such comparison, or it belongs to another project.
        """
        row = self._comparisons.get(comparison_id, project_id)
        summary = self._reports.summary(row)
        statuses = self._comparisons.job_statuses([row])
        return ComparisonDetails(
            **_comparison(row, statuses).model_dump(),
            spec=spec_of(row).model_dump(mode="json"),
            results=results_of(summary),
            tables=tables_of(summary),
        )

    def page(self, limit: int, after: str | None, project_id: str) -> ComparisonList:
        """Return a page of comparisons, newest first."""
        rows = self._comparisons.page(limit + 1, after, project_id)
        statuses = self._comparisons.job_statuses(rows)
        shown = [_comparison(row, statuses) for row in rows[:limit]]
        return ComparisonList(data=shown, has_more=len(rows) > limit, **ends(shown))

    def cancel(self, comparison_id: str, project_id: str) -> ComparisonDetails:
        """Cancel every job that has not ended. Idempotent."""
        row = self._comparisons.get(comparison_id, project_id)
        # In reverse order, so that waiting jobs are cancelled before the job they wait for.
        for run in reversed(runs_of(row)):
            with suppress(JobConflictError):  # the job has ended
                self._jobs.request_cancel(run.job_id)
        return self.get(comparison_id, project_id)

    def report(self, comparison_id: str, project_id: str, kind: ReportKind) -> str:
        """Return the report so far."""
        row = self._comparisons.get(comparison_id, project_id)
        address = f"$ESSA_URL/v1/comparisons/{comparison_id}/report?format={kind}"
        command = f'curl -H "Authorization: Bearer $ESSA_API_KEY" {shlex.quote(address)}'
        return self._reports.text(row, kind, command.replace("'", '"'))

    def _add(
        self,
        connection: Connection,
        spec: ComparisonSpec,
        runs: Sequence[PlannedRun],
        project_id: str,
    ) -> str:
        comparison_id = new_comparison_id()

        def queue(run: PlannedRun, spec: AlignmentJobSpec, waits_for: str | None) -> str:
            new = NewJob(
                spec,
                project_id,
                slots=self._slots,
                request=_kept(run, comparison_id),
                waits_for=waits_for,
            )
            return add_job(connection, new)

        stored = queue_runs(runs, self._settings.run_dir, queue)
        add_comparison(connection, comparison_id, spec, project_id, stored)
        return comparison_id


def status_of(statuses: Sequence[str]) -> ComparisonStatus:
    """Derive the state of a comparison from the states of its jobs."""
    found = {JobStatus(status) for status in statuses}
    if found == {JobStatus.QUEUED}:
        return ComparisonStatus.QUEUED
    if not all(status.is_terminal for status in found):
        return ComparisonStatus.RUNNING
    if found == {JobStatus.SUCCEEDED}:
        return ComparisonStatus.SUCCEEDED
    is_failed = JobStatus.FAILED in found
    return ComparisonStatus.FAILED if is_failed else ComparisonStatus.CANCELLED


def _kept(run: PlannedRun, comparison_id: str) -> dict[str, object]:
    """Return the metadata by which the jobs of a comparison can be found."""
    return {
        "suffix": None,
        "metadata": {"comparison": comparison_id, "arm": run.arm},
        "method": {"type": run.spec.method.type},
    }


def _comparison(row: RowMapping, statuses: dict[str, str]) -> Comparison:
    spec, runs = spec_of(row), runs_of(row)
    return Comparison(
        id=row["id"],
        created_at=int(row["created_at"]),
        name=row["name"],
        status=status_of([statuses[run.job_id] for run in runs]),
        arms=list(spec.arms),
        reference=spec.reference,
        seeds=list(spec.seeds),
        target=spec.target,
        runs=[
            ComparisonRun(**run._asdict(), status=JobStatus(statuses[run.job_id])) for run in runs
        ],
    )
