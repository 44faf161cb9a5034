"""`essa compare`: methods on one task, run here; `essa compare report`: their report again."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table as ShownTable

from alignment_api.cli.comparison_runs import RUN_COMMAND, ComparisonRuns
from alignment_api.comparisons.folder import ComparisonFolder
from alignment_api.execution.run_folder import new_folder
from alignment_api.processes.ownership import check_package_owners
from alignment_api.settings import Settings
from essa.comparison.report.blocks import Table
from essa.comparison.report.tables import score_table, target_table
from essa.comparison.spec_file import load_comparison_file
from essa.errors import SpecError

REPORT = "report"


def run(arguments: argparse.Namespace, command: Sequence[str] = RUN_COMMAND) -> int:
    """Run a comparison or write its report.

    Args:
        arguments: of the command line.
        command: program that runs one job.
    Returns:
        0 once every run has its result, 1 while one has none.
    """
    console = Console()
    if arguments.source == REPORT:
        return _report(arguments, console)
    if arguments.folder is not None:
        raise SpecError(f"{arguments.folder} is one argument too many; name it with --out")
    settings = Settings.from_environment(os.environ, home=arguments.home)
    check_package_owners()
    spec = load_comparison_file(Path(arguments.source), arguments.overrides)
    out = arguments.out or new_folder(settings.home / "comparisons", spec.name)
    folder = ComparisonFolder(out)

    def say(line: str) -> None:
        console.print(line, highlight=False, markup=False, soft_wrap=True)

    say(f"{spec.name} runs in {folder.path}")
    is_whole = ComparisonRuns(folder, settings, say, command).run(spec)
    _finish(folder, out, console)
    return 0 if is_whole else 1


def _report(arguments: argparse.Namespace, console: Console) -> int:
    if arguments.folder is None:
        raise SpecError("name the folder: essa compare report FOLDER")
    _finish(ComparisonFolder(arguments.folder), arguments.folder, console)
    return 0


def _finish(folder: ComparisonFolder, shown: Path, console: Console) -> None:
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
