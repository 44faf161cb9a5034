"""What a search learns from a budget of completions: several searches, tasks and seeds.

Every run is a job of its own: one engine on one core, two runs side by side. All runs of a task
start from one adapter and are judged on the same validation prompts every 2,048 completions; the
test set is not looked at. Completions are those of training, the step-size ladder's included. Runs
are compared at equal completions, and seconds are shown beside. A finished run is not run again.

    search_efficiency.py --quick
    search_efficiency.py --budget 131072 --seeds 0,1,2,3,4 --searches default
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from cores import numbers, on_free_cores
from job_runs import read_events, run_here, run_in_child
from report import print_json, print_table

from essa.spec import AlignmentJobSpec
from essa.spec.search import settled_design

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "build" / "search_efficiency"
BETWEEN = 2048
"""Completions between two validations."""
PROMPTS = 512
"""Validation prompts, or all of them where there are fewer."""
T_95 = {2: 12.71, 3: 4.303, 4: 3.182, 5: 2.776, 10: 2.262}
"""Student's t for a 95 % interval of a mean, by number of seeds."""

TASKS = {"arithmetic": ROOT / "examples" / "arithmetic" / "job.yaml"}
SEARCHES: dict[str, dict[str, Any]] = {
    "default": {},
    "annealed_es": {"search": {"type": "annealed_es"}},
    "sep_cma_es": {"search": {"type": "sep_cma_es", "population": 32}, "batch_size": 32},
}
"""What a job has besides its task and its budget. `default` names no search."""


class Run(NamedTuple):
    """One search with one seed."""

    task: str
    search: str
    seed: int

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"{self.task}-{self.search}-{self.seed}"


def main() -> None:
    """Run what has not finished, then print everything."""
    arguments = _arguments()
    if arguments.run is not None:
        content = json.loads(_job_file(arguments.run).read_text())
        run_here(AlignmentJobSpec.model_validate(content), arguments.run, arguments.cores)
        return
    folder = arguments.out / str(arguments.budget)
    runs = [
        Run(task, search, seed)
        for seed in arguments.seeds
        for task in arguments.tasks
        for search in arguments.searches
    ]
    starts = {task: _warm_start(task, folder, arguments) for task in arguments.tasks}
    rows = on_free_cores(
        lambda run, core: _row(run, core, starts[run.task], folder, arguments),
        runs,
        arguments.cores,
    )
    _show(rows, arguments)
    print_json("search_efficiency", budget=arguments.budget, rows=rows)


def _warm_start(task: str, folder: Path, arguments: argparse.Namespace) -> Path:
    content = _task(task) | {
        "search": {"type": "sep_cma_es", "population": 4, "sigma_init": 0.1},
        "batch_size": 2,
        "budget": {"generations": 1},
    }
    place = folder / f"{task}-start"
    _run(place, content, arguments.cores[0], arguments)
    return (place / "run" / "warm_start").resolve()


def _row(
    run: Run, core: int, adapter: Path, folder: Path, arguments: argparse.Namespace
) -> dict[str, Any]:
    settings = SEARCHES[run.search]
    content = _task(run.task) | settings
    content |= {
        "warm_start": {"type": "adapter", "path": str(adapter)},
        "budget": {"completions": arguments.budget},
        "seed": run.seed,
    }
    spec = AlignmentJobSpec.model_validate(content)
    one = spec.method.completions(spec)
    content["evaluation"] = {"every": max(1, round(BETWEEN / one)), "rollouts": "none"}
    place = folder / run.name
    _run(place, content, core, arguments)
    return _read(run, spec, read_events(place))


def _task(task: str) -> dict[str, Any]:
    """The job of a task without its search, its files found from anywhere."""
    path = TASKS[task]
    content = yaml.safe_load(path.read_text())
    for name in ("search", "batch_size", "budget", "evaluation"):
        content.pop(name, None)
    for part in (content["model"], content["warm_start"], *_sets(content)):
        if "path" in part and (path.parent / part["path"]).exists():
            part["path"] = str((path.parent / part["path"]).resolve())
    content["data"]["validation"]["limit"] = PROMPTS
    content["data"]["test"]["limit"] = 8
    return content


def _sets(content: dict[str, Any]) -> list[dict[str, Any]]:
    return [content["data"][name] for name in ("train", "validation", "test")]


def _run(place: Path, content: dict[str, Any], core: int, arguments: argparse.Namespace) -> None:
    content["engine"] = content["engine"] | {"workers": 1}
    given = _job_file(place)
    given.parent.mkdir(parents=True, exist_ok=True)
    given.write_text(json.dumps(content))
    command = [sys.executable, __file__, "--cores", str(core), "--run", str(place)]
    run_in_child(place.name, place, command)


def _job_file(place: Path) -> Path:
    """Beside the run's folder, which is emptied before a run starts."""
    return place.parent / f"{place.name}.json"


def _read(run: Run, spec: AlignmentJobSpec, events: Sequence[dict[str, Any]]) -> dict[str, Any]:
    judged = [event for event in events if event["type"] == "validation"]
    curve = [(event["completions"], event["score"]) for event in judged]
    last = max(curve)
    return {
        "task": run.task,
        "search": run.search,
        "target": spec.search.target,
        "design": settled_design(spec.search, spec.reward),
        "seed": run.seed,
        "completions_to": _first_reached(curve),
        "at": {str(completions): round(score, 4) for completions, score in curve},
        "best": round(max(score for _, score in curve), 4),
        "last": round(last[1], 4),
        "completions": last[0],
        "seconds": round(judged[-1]["elapsed_s"] - judged[0]["elapsed_s"], 1),
    }


def _first_reached(curve: Sequence[tuple[int, float]]) -> dict[str, int | None]:
    """Completions at the first of two validations in a row at or above every hundredth."""
    lowest, highest = curve[0][1], max(score for _, score in curve)
    found: dict[str, int | None] = {}
    for hundredth in range(math.ceil(100 * lowest), math.floor(100 * highest) + 2):
        target = hundredth / 100
        found[f"{target:.2f}"] = next(
            (
                completions
                for (completions, score), (_, after) in itertools.pairwise(curve)
                if min(score, after) >= target
            ),
            None,
        )
    return found


def _show(rows: Sequence[dict[str, Any]], arguments: argparse.Namespace) -> None:
    quarters = [arguments.budget * part // 3 for part in (1, 2, 3)]
    for task in arguments.tasks:
        cells = []
        for search in arguments.searches:
            own = [row for row in rows if (row["task"], row["search"]) == (task, search)]
            at = [[_score_at(row, completions) for row in own] for completions in quarters]
            falls = [row["best"] - row["last"] for row in own]
            cells.append(
                [
                    search,
                    len(own),
                    *map(_with_interval, at),
                    round(statistics.stdev(at[-1]), 3) if len(own) > 1 else "",
                    round(statistics.fmean(falls), 3),
                    round(statistics.fmean(row["seconds"] for row in own)),
                ]
            )
        columns = ["search", "seeds", *(f"at {one:,}" for one in quarters)]
        columns += ["sd at the end", "best - last", "seconds"]
        print_table(columns, cells, f"{task}: validation score, mean and 95 % interval")


def _score_at(row: dict[str, Any], completions: int) -> float:
    """Of the validation that comes nearest."""
    nearest = min(row["at"], key=lambda one: abs(int(one) - completions))
    return row["at"][nearest]


def _with_interval(scores: Sequence[float]) -> str:
    mean = statistics.fmean(scores)
    if len(scores) < 2:
        return f"{mean:.3f}"
    half = T_95.get(len(scores), 2.0) * statistics.stdev(scores) / math.sqrt(len(scores))
    return f"{mean:.3f} [{mean - half:.3f}, {mean + half:.3f}]"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="arithmetic, ten seeds, two searches")
    parser.add_argument("--budget", type=int, default=24576, help="completions (default 24576)")
    parser.add_argument("--seeds", type=numbers, default=tuple(range(10)), metavar="A,B")
    parser.add_argument("--tasks", type=_names(TASKS), default=tuple(TASKS), metavar="A,B")
    parser.add_argument(
        "--searches", type=_names(SEARCHES), default=("default", "sep_cma_es"), metavar="A,B"
    )
    parser.add_argument("--cores", type=numbers, default=(0, 1), help="such as 0,1")
    parser.add_argument("--out", type=Path, default=OUT, help="finished runs, kept")
    parser.add_argument("--run", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.tasks, arguments.searches = ("arithmetic",), ("default", "sep_cma_es")
    return arguments


def _names(known: dict[str, Any]) -> Any:
    def read(given: str) -> tuple[str, ...]:
        names = tuple(given.split(","))
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(known)}")
        return names

    return read


if __name__ == "__main__":
    main()
