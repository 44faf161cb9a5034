"""`essa sweep thresholds`: run a constrained job at every point of a grid of thresholds."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter
from rich.console import Console
from rich.table import Table

from alignment_api.cli.flags import Home, JobFile, Overrides
from essa.errors import SpecError

if TYPE_CHECKING:
    from essa.events import Event
    from essa.spec import AlignmentJobSpec

REPORT = "sweep.json"

app = App("sweep", help="Run a job over a grid of settings.", version_flags=())


@app.command
def thresholds(
    job_file: JobFile,
    /,
    *,
    overrides: Overrides = (),
    grid: Annotated[list[str], Parameter(metavar="NAME=V1,V2")],
    out: Path,
    home: Home = None,
) -> int:
    """Run a constrained job at every point of a grid of thresholds.

    Args:
        grid: Thresholds of a constrained component; can be repeated for others.
        out: Folder of the runs; can be continued.
    """
    from alignment_api.cli.variants import Variants
    from alignment_api.processes.ownership import check_package_owners
    from alignment_api.settings import Settings
    from essa.spec.reading.file import load_job_file

    settings = Settings.from_environment(os.environ, home=home)
    check_package_owners()
    spec = load_job_file(job_file, overrides)
    changes = grid_changes(spec, read_grid(grid))
    runs = Variants(spec, out, settings).run(changes)
    rows = [summary(name, runs[name]) for name in changes]
    (out / REPORT).write_text(json.dumps(rows, indent=2) + "\n")
    _show(rows)
    return 0


def read_grid(given: Sequence[str]) -> dict[str, list[float]]:
    """Parse `topicality=0.7,0.8` and the like into thresholds to try, by component.

    Raises:
        SpecError: an entry is malformed, or a component occurs twice.
    """
    grid: dict[str, list[float]] = {}
    for one in given:
        name, equals, values = one.partition("=")
        try:
            thresholds = [float(value) for value in values.split(",")]
        except ValueError:
            thresholds = []
        if not (name and equals and thresholds):
            raise SpecError(f"--grid {one!r} is not NAME=V1,V2; write --grid topicality=0.7,0.8")
        if name in grid:
            raise SpecError(f"--grid gives {name} twice; list all its values in one")
        grid[name] = thresholds
    return grid


def grid_changes(spec: AlignmentJobSpec, grid: dict[str, list[float]]) -> dict[str, dict[str, Any]]:
    """Return the settings to replace for every point of the grid, by name of the run.

    Raises:
        SpecError: the job is not constrained, or has no constraint on a component of the grid.
    """
    if spec.method.type != "constrained_evolution":
        raise SpecError(
            f"method.type is {spec.method.type}; only a constrained_evolution job has thresholds",
            field="method.type",
        )
    known = [one.component for one in spec.method.constraints]
    for name in grid:
        if known.count(name) != 1:
            raise SpecError(
                f"--grid names {name}, on which the job has {known.count(name)} constraints; it "
                f"must have one (constrained: {', '.join(known)})",
                field="method.constraints",
            )
    changes = {}
    for point in itertools.product(*grid.values()):
        thresholds = dict(zip(grid, point, strict=True))
        method = spec.method.model_dump(mode="json")
        for one in method["constraints"]:
            one["threshold"] = thresholds.get(one["component"], one["threshold"])
        name = "-".join(f"{component}_{value:g}" for component, value in thresholds.items())
        changes[name] = {"method": method}
    return changes


def summary(name: str, events: Sequence[Event]) -> dict[str, Any]:
    """Summarise the vector that a run selected by validation score, with its test score."""
    from essa.events import ResultEvent, ValidationEvent

    result = next(event for event in events if isinstance(event, ResultEvent))
    picked = next(
        event
        for event in events
        if isinstance(event, ValidationEvent) and event.generation == result.selected_generation
    )
    aligned = result.test["aligned"]
    return {
        "run": name,
        "validation": picked.score,
        "is_feasible": picked.is_feasible,
        "constraints": [one.model_dump(mode="json") for one in picked.constraints],
        "generation": result.selected_generation,
        "test_components": aligned.components,
        "test_held": all(one.is_held for one in aligned.constraints),
    }


def _show(rows: Sequence[dict[str, Any]]) -> None:
    from alignment_api.cli.terminal.text import number

    names = [f"{one['component']} {one['direction']}" for one in rows[0]["constraints"]]
    table = Table("run", "objective", "held", *names, "on the test set")
    for row in rows:
        values = [f"{one['value']:.3f} / {one['threshold']:g}" for one in row["constraints"]]
        held = "yes" if row["is_feasible"] else "no"
        test = "held" if row["test_held"] else "broken"
        table.add_row(row["run"], number(row["validation"]), held, *values, test)
    Console().print(table)
