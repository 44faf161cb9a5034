"""Results so far of a comparison's jobs: set against each other, and as a report."""

from __future__ import annotations

from typing import Literal

from sqlalchemy.engine import RowMapping

from alignment_api.comparisons.repository import (
    ComparisonRepository,
    StoredRun,
    runs_of,
    spec_of,
)
from alignment_api.comparisons.surroundings import surroundings_of
from alignment_api.jobs.events import EventRepository
from alignment_api.settings import Settings
from alignment_api.store import Store
from alignment_api.store.job_status import JobStatus
from essa.comparison.history import RunHistory, read_history
from essa.comparison.report.report import html_report, markdown_report
from essa.comparison.summary import Summary, summarize
from essa.events import ResultEvent, RoundEvent, ValidationEvent, WarmStartEvent

ReportKind = Literal["md", "html"]
KINDS: tuple[ReportKind, ...] = ("md", "html")

_EVENTS = (WarmStartEvent, ValidationEvent, RoundEvent, ResultEvent)


class ComparisonReports:
    """Reads the jobs of stored comparisons, finished or not.

    Args:
        store: the store of comparisons and jobs.
        settings: locate the folders of the jobs' runs.
    """

    def __init__(self, store: Store, settings: Settings) -> None:
        self._comparisons = ComparisonRepository(store)
        self._events = EventRepository(store)
        self._settings = settings

    def summary(self, row: RowMapping) -> Summary:
        """Set the jobs of a comparison against each other."""
        spec = spec_of(row)
        histories = [self._history(run) for run in runs_of(row)]
        return summarize(histories, tuple(spec.arms), spec.reference, spec.target)

    def text(self, row: RowMapping, kind: ReportKind, command: str) -> str:
        """Write the report of a comparison so far.

        Args:
            row: the comparison.
            kind: HTML or Markdown.
            command: shell command that makes this report again, shown in it.
        """
        runs = runs_of(row)
        folders = {
            f"{run.arm}, seed {run.seed}": self._settings.run_dir(run.job_id) for run in runs
        }
        statuses = self._comparisons.job_statuses([row])
        notes = [
            f"{run.arm}, seed {run.seed} ({run.job_id}) is {statuses[run.job_id]}."
            for run in runs
            if statuses[run.job_id] != JobStatus.SUCCEEDED
        ]
        around = surroundings_of(command, folders, notes)
        report = html_report if kind == "html" else markdown_report
        return report(spec_of(row), self.summary(row), around)

    def _history(self, run: StoredRun) -> RunHistory:
        return read_history(run.arm, run.seed, self._events.of_kinds(run.job_id, _EVENTS))
