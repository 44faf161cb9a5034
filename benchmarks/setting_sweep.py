"""Settings of a job against each other, from one warm start: which of them learns most in a budget.

A variant is what `essa run --set` takes, several divided by spaces. All runs start from one adapter
and see the same prompts in the same order where their batches are alike; they are judged on the
validation set, and the test set is not looked at. With several seeds, every variant runs once with
each, all variants of a seed before the next seed.

    setting_sweep.py --seconds 120 "search.population=16 batch_size=24" "search.population=48"
    setting_sweep.py --generations 10 --set method.type=grpo "method.group_size=4 batch_size=16"
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from statistics import fmean
from typing import Any

from cores import numbers
from job_runs import folder_name, read_events, run_here, run_in_child
from populations import CACHE
from report import print_json, print_table

from essa.spec.reading.file import load_job_file

JOB = Path(__file__).parents[1] / "examples" / "upbeat" / "job.yaml"
START = "start"
SHORTEST = (
    "search={type: sep_cma_es, population: 4, sigma_init: 0.1}",
    "budget.generations=1",
    "batch_size=2",
)
"""A job that makes the warm start and hardly more."""


def main() -> None:
    """Run what has not finished, then print everything."""
    arguments = _arguments()
    if arguments.run is not None:
        folder, *overrides = arguments.run
        run_here(load_job_file(arguments.job, overrides), Path(folder), arguments.cores)
        return
    _run(START, SHORTEST, arguments)
    adapter = (arguments.out / START / "run" / "warm_start").resolve()
    budget = ["budget.wall_s=null", f"budget.generations={arguments.generations}"]
    if arguments.seconds is not None:
        budget = [f"budget.wall_s={arguments.seconds}", "budget.generations=100000"]
    shared = [*budget, f"warm_start={{type: adapter, path: {adapter}}}", *arguments.set]
    rows = []
    for seed in arguments.seeds:
        for variant in arguments.variants:
            name = f"{seed}-{folder_name(variant)}"
            _run(name, [*shared, f"seed={seed}", *shlex.split(variant)], arguments)
            rows.append({"variant": variant, "seed": seed, **_read(arguments.out / name)})
    columns = {
        "variant": "variant",
        "seed": "seed",
        "start": "warm start",
        "best": "best validation",
        "at_generation": "at generation",
        "at_s": "after s",
        "last": "last validation",
        "generations": "generations",
        "samples": "completions",
        "generation_s": "s a generation",
        "train_s": "of it training",
        "sigma": "first sigma",
        "reliability": "reliability",
    }
    print_table(list(columns.values()), [[row[name] for name in columns] for row in rows])
    if len(arguments.seeds) > 1:
        means = {
            variant: fmean(row["best"] for row in rows if row["variant"] == variant)
            for variant in arguments.variants
        }
        print_table(["variant", "best validation, mean"], [list(one) for one in means.items()])
    print_json("setting_sweep", runs=rows)


def _run(name: str, overrides: list[str] | tuple[str, ...], arguments: argparse.Namespace) -> None:
    folder = arguments.out / name
    fixed = [
        f"engine.workers={min(len(arguments.cores), arguments.workers)}",
        "data.test.limit=8",
        "budget.target_score=null",
    ]
    command = [sys.executable, __file__, "--job", str(arguments.job)]
    command += ["--cores", ",".join(map(str, arguments.cores)), "--out", str(arguments.out)]
    command += ["--run", str(folder), *fixed, *overrides]
    run_in_child(name, folder, command)


def _read(folder: Path) -> dict[str, Any]:
    events = read_events(folder)
    judged = [event for event in events if event["type"] == "validation"]
    steps = [event for event in events if event["type"] == "generation"]
    best = max(judged, key=lambda event: event["score"])
    reliable = [event["reliability"] for event in steps if event["reliability"] is not None]
    return {
        "start": judged[0]["score"],
        "best": best["score"],
        "at_generation": best["generation"],
        "at_s": best["elapsed_s"],
        "last": judged[-1]["score"],
        "generations": len(steps),
        "samples": steps[-1]["samples"],
        "generation_s": (steps[-1]["elapsed_s"] - judged[0]["elapsed_s"]) / len(steps),
        "train_s": fmean(event["train_s"] for event in steps),
        "sigma": steps[0]["sigma"],
        "reliability": fmean(reliable) if reliable else None,
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("variants", nargs="*", help='such as "search.population=48 batch_size=8"')
    parser.add_argument("--job", type=Path, default=JOB, help="default: that of make demo")
    parser.add_argument("--set", action="append", default=[], help="a setting of all variants")
    parser.add_argument("--cores", type=numbers, default=(0, 1), help="such as 0,1")
    parser.add_argument("--workers", type=int, default=2, help="engines (default %(default)s)")
    parser.add_argument("--seeds", type=numbers, default=(0,), metavar="A,B")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--seconds", type=float, help="budget of a run, loading included")
    length.add_argument("--generations", type=int, default=10, help="instead (default 10)")
    parser.add_argument("--out", type=Path, default=CACHE / "setting_sweep", help="runs, kept")
    parser.add_argument("--run", nargs="+", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
