"""`essa compare`: run several methods on one task; `essa compare report`: rewrite the report."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table as ShownTable

from alignment_api.cli.flags import Home, Overrides
from essa.errors import SpecError

if TYPE_CHECKING:
    from alignment_api.comparisons.folder import ComparisonFolder
    from essa.comparison.report.blocks import Table
    from essa.events import Event

REPORT = "report"


def run(
    source: str,
    folder: Path | None = None,
    /,
    *,
    overrides: Annotated[
        Overrides,
        Parameter(help="Override a setting, such as job.budget.generations=5; can be repeated."),
    ] = (),
    out: Path | None = None,
    home: Home = None,
) -> int:
    """Compare methods on one task, over several seeds, and write a report.

    Args:
        source: File with job, arms, reference and seeds; or the word `report`, to write a report
            again.
        folder: Folder of the comparison to report on.
        out: Folder of the runs; an existing one is continued (default: a new one in the home).
    Returns:
        0 if every run has a result, else 1.
    """
    from alignment_api.cli.folder_run import new_folder
    from alignment_api.comparisons.folder import ComparisonFolder, check_runs
    from alignment_api.processes.ownership import check_package_owners
    from alignment_api.settings import Settings
    from essa.comparison.spec import planned_runs
    from essa.comparison.spec_file import load_comparison_file

    console = Console()
    settings = Settings.from_environment(os.environ, home=home)
    if source == REPORT:
        if folder is None:
            raise SpecError("name the folder: essa compare report FOLDER")
        with ComparisonFolder.existing(folder, settings) as runs:
            _finish(runs, folder, console)
        return 0
    if folder is not None:
        raise SpecError(f"{folder} is one argument too many; name it with --out")
    check_package_owners()
    spec = load_comparison_file(Path(source), overrides)
    check_runs(planned_runs(spec), settings)
    place = out or new_folder(settings.home / "comparisons", spec.name)

    def say(line: str) -> None:
        console.print(line, highlight=False, markup=False, soft_wrap=True)

    with ComparisonFolder(place, settings) as runs:
        say(f"{spec.name} runs in {runs.path}")
        is_whole = runs.run(spec, say, partial(_tell, say))
        _finish(runs, place, console)
    return 0 if is_whole else 1


def _tell(say: Callable[[str], None], name: str, event: Event) -> None:
    from alignment_api.cli.terminal.text import event_line
    from essa.events import StageEvent

    is_counting = isinstance(event, StageEvent) and event.done is not None
    text = "" if is_counting else event_line(event)
    if text:
        say(f"{name}: {text}")


def _finish(folder: ComparisonFolder, shown: Path, console: Console) -> None:
    from essa.comparison.report.tables import score_table, target_table

    summary = folder.summary()
    for table in (target_table(summary), score_table(summary)):
        if table.rows:
            console.print(_shown(table))
    for path in folder.write_reports(shown):
        console.print(str(path), highlight=False, soft_wrap=True)


def _shown(table: Table) -> ShownTable:
    shown = ShownTable(*table.columns, title=table.title, title_justify="left")
    for row in table.rows:
        shown.add_row(*row)
    return shown
