"""The runs of a comparison, one after the other on the whole machine, each in its own process."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from alignment_api.cli.terminal.text import event_line
from alignment_api.comparisons.folder import ComparisonFolder
from alignment_api.doctor.preflight import require_machine
from alignment_api.execution.run_folder import EVENTS_FILE
from alignment_api.files.offline import uploaded_files
from alignment_api.jobs.checks import find_problems
from alignment_api.processes.child import JobChild, last_lines
from alignment_api.processes.devices import Share
from alignment_api.processes.folder_lock import FolderLock
from alignment_api.settings import Settings
from essa.comparison.spec import ComparisonSpec, PlannedRun, planned_runs, with_warm_start
from essa.events import StageEvent, read_event
from essa.records.folder import WARM_START_FOLDER
from essa.spec.reading.file import problem_error
from essa.spec.reading.problem import Problem

RUN_COMMAND = (sys.executable, "-m", "alignment_api.cli.run_process")
_POLL_S = 0.5
_LOG_LINES = 15
_LOG_TAIL_BYTES = 16_384


class ComparisonRuns:
    """Runs what has no result yet.

    Args:
        folder: of the comparison.
        settings: of the home whose models and uploads are used.
        say: told one line at a time.
        command: program that runs one job; see `alignment_api.cli.run_process`.
    """

    def __init__(
        self,
        folder: ComparisonFolder,
        settings: Settings,
        say: Callable[[str], None],
        command: Sequence[str] = RUN_COMMAND,
    ) -> None:
        self._folder = folder
        self._settings = settings
        self._say = say
        self._command = command

    def run(self, spec: ComparisonSpec) -> bool:
        """Run everything; a run that was interrupted resumes. Whether all have a result.

        A run that fails does not stop the others, but those that wait for its warm start.

        Raises:
            SpecError: a run cannot be done as it is written; nothing has run then.
            HomeInUseError: another process runs this comparison.
        """
        runs = planned_runs(spec)
        check_runs(runs, self._settings)
        self._folder.keep(spec)
        with FolderLock(self._folder.path / "compare.lock"):
            for number, run in enumerate(runs, start=1):
                self._run_one(run, f"{number} of {len(runs)}")
        return all(self._folder.is_finished(run.arm, run.seed) for run in runs)

    def _run_one(self, run: PlannedRun, which: str) -> None:
        name = f"{run.arm}, seed {run.seed}"
        if self._folder.is_finished(run.arm, run.seed):
            self._say(f"{name} ({which}) is finished")
            return
        spec = run.spec
        if run.warm_start_of is not None:
            if not self._folder.is_finished(run.warm_start_of, run.seed):
                self._say(f"{name} ({which}) is left out: {run.warm_start_of} has no warm start")
                return
            maker = self._folder.run_dir(run.warm_start_of, run.seed)
            spec = with_warm_start(spec, str(maker / WARM_START_FOLDER))
        run_dir = self._folder.run_dir(run.arm, run.seed)
        run_dir.mkdir(parents=True, exist_ok=True)
        path = run_dir / "spec.json"
        path.write_text(spec.model_dump_json(indent=2) + "\n", encoding="utf-8")
        self._say(f"{name} ({which}) runs in {run_dir}")
        status = self._watch(name, run_dir, path)
        if not self._folder.is_finished(run.arm, run.seed):
            tail = last_lines(run_dir / "job.log", _LOG_LINES, _LOG_TAIL_BYTES)
            self._say(f"{name} failed with status {status}; its log ends:\n{tail}")

    def _watch(self, name: str, run_dir: Path, spec: Path) -> int | None:
        given = ["--spec", str(spec), "--run-dir", str(run_dir)]
        given += ["--home", str(self._settings.home), "--parent", str(os.getpid())]
        lines = _NewLines(run_dir / EVENTS_FILE)
        child = JobChild([*self._command, *given], run_dir / "job.log", Share())
        try:
            while child.exit_status(_POLL_S) is None:
                self._tell(name, lines)
        except BaseException:
            child.stop(self._settings.shutdown_grace_s)
            raise
        finally:
            child.kill()
        self._tell(name, lines)
        return child.exit_status()

    def _tell(self, name: str, lines: _NewLines) -> None:
        for line in lines.read():
            event = read_event(line)
            is_counting = isinstance(event, StageEvent) and event.done is not None
            text = "" if is_counting else event_line(event)
            if text:
                self._say(f"{name}: {text}")


def check_runs(runs: Sequence[PlannedRun], settings: Settings) -> None:
    """Look at files, columns and reward of every run before the first one starts.

    Raises:
        SpecError: with a line for each fault; names the arm where not all have it.
        MachineError: this machine cannot run one of them.
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


class _NewLines:
    """Whole lines that were added to a file since the last look."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = 0
        # Of an earlier start; half a line at its end is dropped before anything follows.
        self.read()

    def read(self) -> list[str]:
        """The new ones."""
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            file.seek(self._read)
            whole, end, _ = file.read().rpartition(b"\n")
        self._read += len(whole) + len(end)
        return [line for line in whole.decode().split("\n") if line]
