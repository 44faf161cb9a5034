"""A comparison in a folder: its specification, its runs, its report."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from alignment_api.comparisons.surroundings import surroundings_of
from alignment_api.execution.run_folder import read_events
from essa.comparison.history import RunHistory, read_history
from essa.comparison.report.report import html_report, markdown_report
from essa.comparison.spec import ComparisonSpec, planned_runs, validate_comparison
from essa.comparison.summary import Summary, summarize
from essa.errors import SpecError
from essa.records.folder import RESULT_FILE

SPEC_FILE = "comparison.json"


class ComparisonFolder:
    """Where `essa compare` keeps everything.

    Args:
        path: the folder; need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()

    def keep(self, spec: ComparisonSpec) -> None:
        """Write the specification down, or check that it goes on with the one that is there.

        Raises:
            SpecError: the folder holds another comparison.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        if (self.path / SPEC_FILE).exists():
            earlier = self.spec()
            same = spec.model_copy(update={"seeds": earlier.seeds, "target": earlier.target})
            if same != earlier or spec.seeds[: len(earlier.seeds)] != earlier.seeds:
                raise SpecError(
                    f"{self.path} holds another comparison; only seeds may be added to it, and the "
                    "target may change. Name another folder with --out"
                )
        text = json.dumps(spec.model_dump(mode="json"), indent=2) + "\n"
        (self.path / SPEC_FILE).write_text(text, encoding="utf-8")

    def spec(self) -> ComparisonSpec:
        """The specification.

        Raises:
            SpecError: there is none.
        """
        path = self.path / SPEC_FILE
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise SpecError(
                f"{path} cannot be read: {error}; name a folder that `essa compare` has made"
            ) from error
        return validate_comparison(raw)

    def run_dir(self, arm: str, seed: int) -> Path:
        """Folder of one run."""
        return self.path / "runs" / f"{arm}-{seed}"

    def is_finished(self, arm: str, seed: int) -> bool:
        """Whether a run has a result."""
        return (self.run_dir(arm, seed) / RESULT_FILE).is_file()

    def summary(self) -> Summary:
        """What the runs say so far."""
        spec = self.spec()
        runs: list[RunHistory] = []
        for arm in spec.arms:
            runs += [
                read_history(arm, seed, read_events(self.run_dir(arm, seed))) for seed in spec.seeds
            ]
        return summarize(runs, tuple(spec.arms), spec.reference, spec.target)

    def write_reports(self, shown: Path | None = None) -> tuple[Path, Path]:
        """Write `report.md` and `report.html` and return their paths.

        Args:
            shown: the folder as the user names it, for the command in the report.
        """
        spec, summary = self.spec(), self.summary()
        command = shlex.join(["essa", "compare", "report", str(shown or self.path)])
        folders = {
            f"{one.arm}, seed {one.seed}": self.run_dir(one.arm, one.seed)
            for one in planned_runs(spec)
        }
        notes = [
            f"{run.arm}, seed {run.seed} has not ended."
            for run in summary.runs
            if run.result is None
        ]
        around = surroundings_of(command, folders, notes)
        paths = (self.path / "report.md", self.path / "report.html")
        paths[0].write_text(markdown_report(spec, summary, around), encoding="utf-8")
        paths[1].write_text(html_report(spec, summary, around), encoding="utf-8")
        return paths
