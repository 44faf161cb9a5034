"""`essa proxy-points`: find thresholds by training on each component alone."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from alignment_api.cli.flags import Home, JobFile, Overrides
from essa.errors import SpecError

if TYPE_CHECKING:
    import numpy as np

    from essa.constrained.proxy_points import ProxyPoints
    from essa.events import Event
    from essa.spec import AlignmentJobSpec

REPORT, JOB, PLOT = "proxy_points.json", "constrained.json", "proxy_points.svg"


def run(
    job_file: JobFile,
    /,
    *,
    overrides: Overrides = (),
    metric: str,
    components: str | None = None,
    out: Path,
    home: Home = None,
) -> int:
    """Find thresholds for a constrained job by training on each component alone.

    Args:
        metric: Component to judge by; it is not trained on.
        components: Components to find thresholds for, as A,B (default: all but the metric).
        out: Folder of the runs; can be continued.
    """
    from alignment_api.cli.terminal.proxy_plot import draw
    from alignment_api.cli.variants import Variants
    from alignment_api.processes.ownership import check_package_owners
    from alignment_api.settings import Settings
    from essa.constrained.proxy_points import propose_thresholds
    from essa.spec.reading.file import load_job_file

    settings = Settings.from_environment(os.environ, home=home)
    check_package_owners()
    spec = load_job_file(job_file, overrides)
    names = component_names(spec, metric, components)
    runs = Variants(spec, out, settings).run({f"only-{name}": alone(spec, name) for name in names})
    points, reached = measured(runs.values(), names, metric)
    found = propose_thresholds(points, reached, names, seed=spec.seed)
    _write(out, found, points, reached, metric)
    job = constrained_job(spec, found)
    (out / JOB).write_text(json.dumps(job, indent=2) + "\n")
    has_plot = draw(found, points, reached, metric, out / PLOT)
    _show(found, metric, out, has_plot)
    return 0


def measured(
    runs: Iterable[Sequence[Event]], names: Sequence[str], metric: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return what every scored vector reached: components, shape (M, K), and metric, shape (M,)."""
    import numpy as np

    from essa.events import ValidationEvent

    seen = [
        event.components
        for events in runs
        for event in events
        if isinstance(event, ValidationEvent)
    ]
    points = np.array([[one[name] for name in names] for one in seen])
    return points.reshape(len(seen), len(names)), np.array([one[metric] for one in seen])


def constrained_job(spec: AlignmentJobSpec, found: ProxyPoints) -> dict[str, Any]:
    """Return the job that meets the thresholds while staying as near to its start as possible.

    As in mu-PPO, but the objective is the distance from the start instead of the divergence,
    because the distance costs nothing to compute.
    """
    from essa.spec.constrained import DISTANCE

    job = spec.model_dump(mode="json")
    job["method"] = {
        "type": "constrained_evolution",
        "objective": DISTANCE,
        "constraints": [
            {"component": name, "threshold": round(threshold, 6), "direction": ">="}
            for name, threshold in zip(found.names, found.thresholds, strict=True)
        ],
    }
    return job


def component_names(spec: AlignmentJobSpec, metric: str, chosen: str | None) -> tuple[str, ...]:
    if spec.reward.type != "composite":
        raise SpecError(
            f"reward.type is {spec.reward.type}; proxy points are found among the components of a "
            "composite reward",
            field="reward.type",
        )
    known = [part.name for part in spec.reward.components]
    names = tuple(chosen.split(",")) if chosen else tuple(one for one in known if one != metric)
    for name in (metric, *names):
        if name not in known:
            raise SpecError(
                f"the reward has no component {name!r}; it has {', '.join(known)}",
                field="reward.components",
            )
    if metric in names:
        raise SpecError(
            f"{metric} is the metric and cannot be one of the components; change --metric or "
            "--components"
        )
    return names


def alone(spec: AlignmentJobSpec, name: str) -> dict[str, Any]:
    """Return the settings that give weight to one component only; the others are just reported."""
    reward = spec.reward.model_dump(mode="json")
    reward |= {"combine": "sum", "formula": None, "normalize": "none"}
    for part in reward["components"]:
        part["weight"] = 1.0 if part["name"] == name else 0.0
    # Over-optimisation is the point of these runs, so no target score stops them.
    budget = spec.budget.model_copy(update={"target_score": None})
    return {
        "reward": reward,
        "budget": budget.model_dump(mode="json"),
        "method": {"type": "evolution"},
    }


def _write(
    out: Path, found: ProxyPoints, points: np.ndarray, metric: np.ndarray, metric_name: str
) -> None:
    report = {
        "metric": metric_name,
        "thresholds": {
            name: {"threshold": threshold, "ci95": interval}
            for name, threshold, interval in zip(
                found.names, found.thresholds, found.ci95, strict=True
            )
        },
        "metric_there": found.metric,
        "explained": found.explained,
        "at_edge": found.at_edge,
        "points": [
            {metric_name: value, **dict(zip(found.names, row, strict=True))}
            for row, value in zip(points.tolist(), metric.tolist(), strict=True)
        ],
    }
    (out / REPORT).write_text(json.dumps(report, indent=2) + "\n")


def _show(found: ProxyPoints, metric: str, out: Path, has_plot: bool) -> None:
    console = Console()
    table = Table("component", "threshold", "95 % interval", "")
    for name, threshold, (low, high) in zip(found.names, found.thresholds, found.ci95, strict=True):
        note = "at the edge of the data: run longer" if name in found.at_edge else ""
        table.add_row(name, f"{threshold:.3f}", f"{low:.3f} to {high:.3f}", note)
    console.print(table)
    console.print(
        f"{metric} there: {found.metric:.3f}; the surface explains {found.explained:.0%} of its "
        "variance for points left out"
    )
    if found.explained <= 0.3:
        console.print("that is little: do not trust these thresholds; run longer or more often")
    console.print(f"next: essa run {out / JOB}", highlight=False, soft_wrap=True)
    if not has_plot:
        console.print("no plot: install matplotlib, pip install 'essa-service[plots]'")
