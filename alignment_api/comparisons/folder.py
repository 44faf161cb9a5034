"""A comparison run in a folder without the service, with its report beside the runs."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from sqlalchemy.engine import RowMapping

from alignment_api.comparisons.reports import KINDS, ComparisonReports
from alignment_api.comparisons.repository import (
    COMPARISON_PREFIX,
    ComparisonRepository,
    add_comparison,
    queue_runs,
    runs_of,
    spec_of,
)
from alignment_api.doctor.preflight import require_machine
from alignment_api.errors import ComparisonNotFoundError
from alignment_api.execution.private_home import PrivateHome
from alignment_api.files.offline import uploaded_files
from alignment_api.jobs.checks import find_problems
from alignment_api.jobs.repository import AWAITED_ENDED
from alignment_api.settings import Settings
from alignment_api.store.job_status import JobStatus
from essa.comparison.spec import ComparisonSpec, PlannedRun, planned_runs, validate_comparison
from essa.comparison.summary import Summary
from essa.errors import SpecError
from essa.events import Event
from essa.spec import AlignmentJobSpec
from essa.spec.reading.file import problem_error
from essa.spec.reading.problem import Problem

_ONLY = COMPARISON_PREFIX + "folder"
_EARLIER_SPEC = "comparison.json"
"""Specification file of a folder written by an earlier version, which has no store."""


class ComparisonFolder(PrivateHome):
    """A private home that holds the jobs of one comparison."""

    def __init__(self, path: Path, settings: Settings) -> None:
        """Open the folder, creating it if needed; see `PrivateHome`."""
        super().__init__(path, settings)
        self.path = self.settings.folder
        self._comparisons = ComparisonRepository(self.store)
        self._reports = ComparisonReports(self.store, self.settings)

    @classmethod
    def existing(cls, path: Path, settings: Settings) -> ComparisonFolder:
        """Open the folder of an existing comparison.

        Raises:
            SpecError: the folder holds no comparison.
        """
        if cls.exists(path) or (path / _EARLIER_SPEC).is_file():
            folder = cls(path, settings)
            if folder._found() is not None:
                return folder
        raise SpecError(f"{path} holds no comparison; name a folder that `essa compare` has made")

    def run(
        self,
        spec: ComparisonSpec,
        say: Callable[[str], None],
        on_event: Callable[[str, Event], None],
    ) -> bool:
        """Run or resume all jobs without a result. Returns whether every job now has one.

        A failed run stops no others except those that wait for its warm start.

        Args:
            spec: the comparison.
            say: called with one line of text at a time.
            on_event: called with the name of a run and its event.
        Raises:
            SpecError: the folder holds another comparison.
            HomeInUseError: another process is running this comparison.
        """
        with self.lock:
            runs = {run.job_id: run for run in runs_of(self._keep(spec))}
            names = {job_id: f"{run.arm}, seed {run.seed}" for job_id, run in runs.items()}
            counted = {
                job_id: f"{name} ({number} of {len(names)})"
                for number, (job_id, name) in enumerate(names.items(), start=1)
            }
            for job_id in runs:
                if self.jobs.get(job_id).status is JobStatus.SUCCEEDED:
                    say(f"{counted[job_id]} is finished")
            for job in self.claimed():
                say(f"{counted[job.id]} runs in {self.settings.run_dir(job.id)}")
                job = self.run_job(job, partial(on_event, names[job.id]))
                if job.status is JobStatus.FAILED:
                    say(f"{names[job.id]} failed: {job.error_message} ({job.error_code})")
            ended = [self.jobs.get(job_id) for job_id in runs]
        for job in ended:
            if job.waits_for is not None and job.error_code == AWAITED_ENDED:
                maker = runs[job.waits_for].arm
                say(f"{counted[job.id]} is left out: {maker} has no warm start")
        return all(job.status is JobStatus.SUCCEEDED for job in ended)

    def summary(self) -> Summary:
        """Summarise the results of the runs so far."""
        return self._reports.summary(self._row())

    def write_reports(self, shown: Path | None = None) -> list[Path]:
        """Write `report.md` and `report.html` and return their paths.

        Args:
            shown: path of the folder as the user wrote it, for the command in the report.
        """
        row = self._row()
        command = shlex.join(["essa", "compare", "report", str(shown or self.path)])
        written: list[Path] = []
        for kind in KINDS:
            written.append(self.path / f"report.{kind}")
            written[-1].write_text(self._reports.text(row, kind, command), encoding="utf-8")
        return written

    def _keep(self, spec: ComparisonSpec) -> RowMapping:
        """Queue the jobs that have no result; refuses a folder with another comparison."""
        found = self._found()
        if found is not None:
            earlier = spec_of(found)
            same = spec.model_copy(update={"seeds": earlier.seeds, "target": earlier.target})
            if same != earlier or spec.seeds[: len(earlier.seeds)] != earlier.seeds:
                raise SpecError(
                    f"{self.path} holds another comparison; only seeds may be added to it, and the "
                    "target may change. Name another folder with --out"
                )
        return self._queue_all(spec)

    def _queue_all(self, spec: ComparisonSpec) -> RowMapping:
        runs = queue_runs(planned_runs(spec), self.settings.run_dir, self._queue)
        with self.store.change() as connection:
            add_comparison(connection, _ONLY, spec, self.project_id, runs)
        return self._row()

    def _queue(self, run: PlannedRun, spec: AlignmentJobSpec, waits_for: str | None) -> str:
        job_id = f"runs/{run.arm}-{run.seed}"
        job = self.take_up(job_id, spec, waits_for=waits_for)
        if job.status is not JobStatus.SUCCEEDED:
            self.jobs.restart(job_id, spec)
        return job_id

    def _row(self) -> RowMapping:
        return self._comparisons.get(_ONLY, self.project_id)

    def _found(self) -> RowMapping | None:
        """Return the folder's comparison, importing one that an earlier version began."""
        with suppress(ComparisonNotFoundError):
            return self._row()
        earlier = self.path / _EARLIER_SPEC
        if not earlier.is_file():
            return None
        return self._queue_all(validate_comparison(json.loads(earlier.read_text())))


def check_runs(runs: Sequence[PlannedRun], settings: Settings) -> None:
    """Check files, columns and reward of every run before the first one starts.

    Raises:
        SpecError: one line per fault, naming the arms if only some have it.
        MachineError: this machine cannot run one of the jobs.
    """
    problems: list[Problem] = []
    for run in runs:
        found = find_problems(
            run.spec, uploaded_files(settings), settings.reward_policy, settings.cache_dir
        )
        at = [run.told(one) for one in found]
        problems += [one for one in at if one not in problems]
    if problems:
        raise problem_error(problems)
    for run in runs:
        require_machine(run.spec, settings)
