"""Ways to hold constraints on a real model: examples/constrained, several seeds, side by side.

Every run is a job from one and the same warm start. Shown are the test scores of the vector that
the validation set picked: the objective, every constraint against its threshold, and answers.

unconstrained     sentiment is the whole reward
fixed_weights     weighted sum of standardised components, all weights 1
sweep             weights 0.5, 1 and 2, a third of the generations each: what a search for weights
                  gets for the price of one run; the validation set picks among them
mu, augmented_lagrangian, exact_penalty
                  multipliers of the constrained mode
population_mean   augmented_lagrangian steered by the mean over candidates
augmented_lagrangian_fast
                  penalty 1 and damping 4: for a run of a dozen generations
threshold_search  augmented_lagrangian with Nelder-Mead over its thresholds

A run that has finished is not run again. Every job has one engine and one core to itself.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from cores import numbers, on_free_cores
from job_runs import read_events, run_here, run_in_child
from populations import CACHE
from report import print_json, print_table

from essa.spec.constrained import ConstrainedSpec
from essa.spec.reading.file import load_job_file

JOB = Path(__file__).parents[1] / "examples" / "constrained" / "job.yaml"
START = "start"
SWEPT = (0.5, 1.0, 2.0)
CONTROLLERS = {
    "fixed_weights": "{type: fixed_weights, weights: [1, 1, 1]}",
    "mu": "{type: mu}",
    "augmented_lagrangian": "{type: augmented_lagrangian}",
    "population_mean": "{type: augmented_lagrangian, measure: population_mean}",
    "augmented_lagrangian_fast": "{type: augmented_lagrangian, penalty: 1.0, damping: 4}",
    "exact_penalty": "{type: exact_penalty}",
}
SHOWN_ANSWERS = 10


def main() -> None:
    """Run what has not finished, then print everything."""
    arguments = _arguments()
    if arguments.run:
        name, seed = arguments.run
        _run_one(name, seed, arguments)
        return
    _run_on(arguments.cores[0], START, "0", arguments)
    runs = [
        (part, seed)
        for seed in arguments.seeds.split(",")
        for method in arguments.methods.split(",")
        for part in _parts(method)
    ]

    def run(one: tuple[str, str], core: int) -> None:
        _run_on(core, *one, arguments)

    on_free_cores(run, runs, arguments.cores)
    _print(arguments)


def _parts(method: str) -> list[str]:
    return [f"sweep{weight:g}" for weight in SWEPT] if method == "sweep" else [method]


def _run_on(core: int, name: str, seed: str, arguments: argparse.Namespace) -> None:
    command = [sys.executable, __file__, "--run", name, seed, "--out", str(arguments.out)]
    command += ["--generations", str(arguments.generations), "--cores", str(core)]
    run_in_child(f"{name}, seed {seed}", _folder(name, seed, arguments), command)


def _run_one(name: str, seed: str, arguments: argparse.Namespace) -> None:
    spec = load_job_file(JOB, _overrides(name, seed, arguments))
    run_here(spec, _folder(name, seed, arguments), arguments.cores)


def _folder(name: str, seed: str, arguments: argparse.Namespace) -> Path:
    return arguments.out / (name if name == START else f"{name}-{seed}")


def _overrides(name: str, seed: str, arguments: argparse.Namespace) -> list[str]:
    changes = [
        f"seed={seed}",
        "engine.workers=1",
        "data.validation.limit=60",
        "data.test.limit=120",
        f"budget.generations={arguments.generations}",
        f"evaluation.samples={SHOWN_ANSWERS}",
    ]
    if name == START:
        short = "{type: sep_cma_es, population: 4, sigma_init: 0.1}"
        return [*changes, "budget.generations=1", "batch_size=2", f"search={short}"]
    # The step size that the ladder finds for this job: it need not be found again by every run.
    changes.append("search.sigma_init=3.0")
    adapter = (arguments.out / START / "run" / "warm_start").resolve()
    changes.append(f"warm_start={{type: adapter, path: {adapter}}}")
    if name == "unconstrained":
        reward = load_job_file(JOB).reward.model_dump(mode="json")
        for part in reward["components"]:
            part["weight"] = float(part["name"] == "sentiment")
        return [*changes, "method={type: evolution}", f"reward={json.dumps(reward)}"]
    if name.startswith("sweep"):
        weight = float(name.removeprefix("sweep"))
        controller = f"{{type: fixed_weights, weights: [{weight}, {weight}, {weight}]}}"
        generations = max(1, arguments.generations // len(SWEPT))
        return [
            *changes,
            f"method.controller={controller}",
            f"budget.generations={generations}",
        ]
    if name == "threshold_search":
        return [*changes, "method.threshold_search={metric: good}"]
    return [*changes, f"method.controller={CONTROLLERS[name]}"]


def _read(out: Path, method: str, seed: str) -> dict[str, Any]:
    """The run of a method; of several, the one that the validation set prefers."""
    found = []
    for part in _parts(method):
        events = read_events(out / f"{part}-{seed}")
        result = next(event for event in events if event["type"] == "result")
        picked = [event for event in events if event["type"] == "validation" and event["is_best"]]
        found.append((_merit(picked[-1]), part, result))
    _, part, result = max(found, key=lambda one: one[0])
    return {"method": method, "seed": int(seed), "run": part, "result": result}


def _merit(event: dict[str, Any]) -> tuple[float, ...]:
    violation = sum(one["violation"] for one in event["constraints"])
    return (1.0, event["score"]) if event["is_feasible"] else (0.0, -violation, event["score"])


def _print(arguments: argparse.Namespace) -> None:
    method = load_job_file(JOB).method
    if not isinstance(method, ConstrainedSpec):
        sys.exit(f"{JOB} has the method {method.type}; set method.type to constrained_evolution")
    constraints = method.constraints
    start = next(
        event for event in read_events(arguments.out / START) if event["type"] == "result"
    )["test"]
    names = [f"{one.component} {one.direction} {one.threshold:g}" for one in constraints]
    columns = ("method", "seed", "sentiment", *names, "missed by", "generation", "seconds")
    rows, table = [], []
    for model in ("base", "warm_start"):
        table.append(_cells(model, "", start[model]["components"], constraints))
    for method in arguments.methods.split(","):
        for seed in arguments.seeds.split(","):
            row = _read(arguments.out, method, seed)
            result = row.pop("result")
            row["components"] = result["test"]["aligned"]["components"]
            row["generation"], row["seconds"] = result["selected_generation"], result["seconds"]
            row["answers"] = [one["aligned"] for one in result["samples"]]
            rows.append(row)
            cells = _cells(method, seed, row["components"], constraints)
            table.append([*cells, row["generation"], float(row["seconds"])])
    print_table(columns, [[*cells, *[""] * (len(columns) - len(cells))] for cells in table])
    print_json("constrained_case", start=start, rows=rows)


def _cells(method: str, seed: str, values: dict[str, float], constraints: Any) -> list[Any]:
    missed = [max(0.0, one.threshold - values[one.component]) / one.range for one in constraints]
    shown = [f"{values[one.component]:.3f}" for one in constraints]
    return [method, seed, f"{values['sentiment']:.3f}", *shown, f"{max(missed):.3f}"]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--methods",
        default="unconstrained,fixed_weights,sweep,mu,augmented_lagrangian",
        help="comma-separated",
    )
    parser.add_argument("--seeds", default="0,1,2", help="comma-separated")
    parser.add_argument("--generations", type=int, default=12)
    parser.add_argument(
        "--cores",
        type=numbers,
        default=sorted(os.sched_getaffinity(0)),
        help="one job at a time on each, comma-separated; all by default",
    )
    parser.add_argument("--out", type=Path, default=CACHE / "constrained_case", help="runs, kept")
    parser.add_argument("--run", nargs=2, metavar=("NAME", "SEED"), help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
