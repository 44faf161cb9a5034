"""GRPO by learning rate and group size on the demo task: what its preset `tuned` should be.

All runs start from one warm start, see the same prompts in the same order, sample as many
completions a step, and are judged on the validation set; the test set is not looked at. The best
run is the one with the highest validation score within the steps.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from cores import numbers
from job_runs import DONE, read_events, run_here, run_in_child
from populations import CACHE
from report import print_json, print_table

from essa.spec.file import load_job_file

JOB = Path(__file__).parents[1] / "examples" / "upbeat" / "job.yaml"
START = "start"


def main() -> None:
    """Run what has not finished, then print everything."""
    arguments = _arguments()
    if arguments.run:
        name, method = arguments.run
        spec = load_job_file(JOB, _overrides(name, json.loads(method), arguments))
        run_here(spec, arguments.out / name, arguments.cores)
        return
    grid = {
        f"lr{rate:g}-g{group}": {"learning_rate": rate, "group_size": group}
        for rate in arguments.rates
        for group in arguments.groups
    }
    for name, method in {START: {}, **grid}.items():
        if not (arguments.out / name / DONE).exists():
            command = [sys.executable, __file__, "--run", name, json.dumps(method)]
            command += ["--out", str(arguments.out), "--steps", str(arguments.steps)]
            command += ["--completions", str(arguments.completions)]
            command += ["--cores", ",".join(map(str, arguments.cores))]
            run_in_child(name, arguments.out / name, command)
    rows = [_read(arguments.out / name, name, method) for name, method in grid.items()]
    columns = {
        "learning_rate": "learning rate",
        "group_size": "group",
        "start": "warm start",
        "best": "best validation",
        "at_step": "at step",
        "at_s": "after s",
        "last": "last validation",
        "step_s": "s a step",
        "rollout_s": "of it rollouts",
        "train_s": "training",
    }
    print_table(list(columns.values()), [[row[name] for name in columns] for row in rows])
    print_json("grpo_sweep", runs=rows)


def _overrides(name: str, method: dict[str, Any], arguments: argparse.Namespace) -> list[str]:
    shared = [
        "engine.precision=bf16",
        f"engine.workers={len(arguments.cores)}",
        "data.test.limit=8",
        "budget.target_score=null",
        "budget.wall_s=null",
    ]
    if name == START:
        short = "{type: sep_cma_es, population: 4, sigma_init: 0.1}"
        return [*shared, f"search={short}", "budget.generations=1", "batch_size=2"]
    adapter = (arguments.out / START / "run" / "warm_start").resolve()
    return [
        *shared,
        f"warm_start={{type: adapter, path: {adapter}}}",
        f"method={json.dumps({'type': 'grpo', **method})}",
        f"batch_size={arguments.completions // method['group_size']}",
        f"budget.generations={arguments.steps}",
    ]


def _read(folder: Path, name: str, method: dict[str, Any]) -> dict[str, Any]:
    events = read_events(folder)
    judged = [event for event in events if event["type"] == "validation"]
    steps = [event for event in events if event["type"] == "generation"]
    best = max(judged, key=lambda event: event["score"])
    seconds = [event["rollout_s"] + event["reward_s"] + event["train_s"] for event in steps]
    return {
        "run": name,
        **method,
        "start": judged[0]["score"],
        "best": best["score"],
        "at_step": best["generation"],
        "at_s": best["elapsed_s"],
        "last": judged[-1]["score"],
        "step_s": sum(seconds) / len(steps),
        "rollout_s": sum(event["rollout_s"] for event in steps) / len(steps),
        "train_s": sum(event["train_s"] for event in steps) / len(steps),
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cores", type=numbers, default=(0, 1), help="such as 0,1")
    parser.add_argument("--rates", type=_rates, default=(1e-4, 5e-4, 2e-3), metavar="A,B,C")
    parser.add_argument("--groups", type=numbers, default=(4, 8), metavar="A,B")
    parser.add_argument("--completions", type=int, default=64, help="of one step (default 64)")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--out", type=Path, default=CACHE / "grpo_sweep", help="runs, kept")
    parser.add_argument("--run", nargs=2, help=argparse.SUPPRESS)
    return parser.parse_args()


def _rates(text: str) -> tuple[float, ...]:
    return tuple(float(one) for one in text.split(","))


if __name__ == "__main__":
    main()
