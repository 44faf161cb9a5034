"""`essa drift`: how far aligned models moved, and how they score on a task they never saw."""

from __future__ import annotations

import os
from collections.abc import Sequence
from json import dumps
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from alignment_api.cli.flags import Home, Overrides
from essa.errors import SpecError

LOG = "drift.log"
_COLUMNS = {
    "score": "score",
    "score_ci95": "95 %",
    "kl_nats": "KL from base, nats/token",
    "entropy_nats": "entropy, nats/token",
    "mean_tokens": "tokens",
    "unfinished_frac": "unfinished",
    "change": "change of B A",
}


def run(
    runs: list[str],
    /,
    *,
    task: Path,
    overrides: Overrides = (),
    json: bool = False,
    home: Home = None,
) -> int:
    """Measure what aligned models have changed and forgotten, on a task they never saw.

    Args:
        runs: Folders of finished runs, each as FOLDER or NAME=FOLDER.
        task: Job file whose test set, prompt, reward and rollouts are the other task.
        json: Print JSON.
    """
    from alignment_api import composition
    from alignment_api.cli.in_process import ShownEvents, interruptible, output_to
    from alignment_api.cli.terminal.live import LiveView
    from alignment_api.files.offline import uploaded_files
    from alignment_api.processes.ownership import check_package_owners
    from alignment_api.settings import Settings
    from essa.ports import RunSite
    from essa.spec.reading.file import load_job_file

    settings = Settings.from_environment(os.environ, home=home)
    check_package_owners()
    folders = _named(runs)
    spec = load_job_file(task, overrides)
    settings.cache_dir.mkdir(parents=True, exist_ok=True)
    settings.home.mkdir(parents=True, exist_ok=True)
    with output_to(settings.home / LOG) as screen:
        console = Console(file=screen)
        live = LiveView(Console(file=screen, quiet=json), "drift")
        with live as view, interruptible(view) as control:
            files = uploaded_files(settings)
            site = RunSite(settings.home, settings.cache_dir, ShownEvents(view), control, files)
            found = composition.measure_drift(folders, spec, site, settings.reward_policy)
        if json:
            screen.write(dumps(found) + "\n")
        else:
            console.print(_table(found))
    return 0


def _named(given: Sequence[str]) -> dict[str, Path]:
    """Return the runs' folders by name; FOLDER without NAME= is named after its last part."""
    runs: dict[str, Path] = {}
    for text in given:
        name, is_named, folder = text.partition("=")
        path = Path(folder if is_named else text).expanduser()
        name = name if is_named else path.resolve().name
        if name in (*runs, "base", "warm_start"):
            raise SpecError(
                f"{name!r} names two models; write RUN as NAME=FOLDER with another name",
                field="RUN",
            )
        if not path.is_dir():
            raise SpecError(f"there is no folder {path}; give the folder of a run", field="RUN")
        runs[name] = path
    return runs


def _table(found: dict[str, dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("model")
    for title in _COLUMNS.values():
        table.add_column(title, justify="right")
    for name, one in found.items():
        table.add_row(name, *(_shown(one[column]) for column in _COLUMNS))
    return table


def _shown(value: Any) -> str:
    from alignment_api.cli.terminal.text import number

    if isinstance(value, list | tuple):
        return f"{number(value[0])} to {number(value[1])}"
    return "" if value is None else number(value)
