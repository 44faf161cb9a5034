"""Run several jobs that differ in a few settings, one after another, from one warm start."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from alignment_api.cli.folder_run import events_in_folder, run_in_folder
from alignment_api.jobs.checks import check_job
from alignment_api.settings import Settings
from essa.events import Event
from essa.records.folder import RESULT_FILE, WARM_START_FOLDER
from essa.spec import AlignmentJobSpec, SepCmaEsSpec
from essa.spec.reading.file import validate_job

START = "start"


class Variants:
    """Runs of one study, each in its own folder; finished runs are not repeated.

    Args:
        spec: the job that the variants change.
        out: folder of the study.
    Raises:
        SpecError: the job cannot run.
        MachineError: this machine cannot run the job.
    """

    def __init__(self, spec: AlignmentJobSpec, out: Path, settings: Settings) -> None:
        check_job(spec, settings)
        self._spec = spec
        self._out = out.absolute()
        self._settings = settings

    def run(self, changes: Mapping[str, dict[str, Any]]) -> dict[str, list[Event]]:
        """Run every variant that has no result yet.

        Args:
            changes: top-level settings to replace, by name of the variant.
        Returns:
            Events of each run, by name of the variant.
        Raises:
            JobCancelledError: the user interrupted it; calling again resumes.
            EssaError: a job failed.
        """
        warm_start = self._warm_start()
        plain = self._spec.model_dump(mode="json")
        specs = {
            name: validate_job(plain | {"warm_start": warm_start} | change)
            for name, change in changes.items()
        }
        for number, (name, spec) in enumerate(specs.items(), start=1):
            self._run_one(name, spec, f"{number} of {len(specs)}")
        return {
            name: events_in_folder(spec, self._settings, self._out / name)
            for name, spec in specs.items()
        }

    def _warm_start(self) -> dict[str, Any]:
        """Return the shared warm start: the job's own, or one made by a minimal run."""
        if self._spec.warm_start.type == "adapter":
            return self._spec.warm_start.model_dump(mode="json")
        shortest = {
            "search": SepCmaEsSpec(population=4, sigma_init=0.1),
            "batch_size": 2,
            "budget": self._spec.budget.model_copy(update={"generations": 1}),
        }
        self._run_one(START, self._spec.model_copy(update=shortest), "warm start of all")
        return {"type": "adapter", "path": str(self._out / START / WARM_START_FOLDER)}

    def _run_one(self, name: str, spec: AlignmentJobSpec, which: str) -> None:
        folder = self._out / name
        if (folder / RESULT_FILE).exists():
            return
        console = Console()
        console.print(f"{name} ({which}) runs in {folder}", highlight=False, soft_wrap=True)
        run_in_folder(spec, self._settings, folder, console)
