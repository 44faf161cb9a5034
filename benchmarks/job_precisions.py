"""The demo job in every precision and with several seeds: test scores, and time to a target.

Every run is a whole job (examples/upbeat/job.yaml): warm start, ladder, search, test, and the test
on the bf16 base. Shown are test scores with 95 % intervals over prompts, and seconds, generations
and generated tokens until the validation score first reached a target. A run that has finished is
not run again; one that was interrupted starts anew.

Every job has one engine and one core to itself, for everything; with several cores, jobs run side
by side. The wall-clock budget is lifted, since one core takes longer than the demo's two.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from cores import numbers, on_free_cores
from job_runs import run_here, run_in_child
from populations import CACHE
from report import print_json, print_table

from essa.spec.reading.file import load_job_file

JOB = Path(__file__).parents[1] / "examples" / "upbeat" / "job.yaml"
COLUMNS = (
    "precision", "seed", "base", "warm start", "aligned", "aligned on bf16", "generations",
    "seconds", "search tok/s", "s to target", "generations to target", "tokens to target",
)  # fmt: skip


def main() -> None:
    """Run what has not finished, then print everything."""
    arguments = _arguments()
    if arguments.run:
        precision, seed = arguments.run
        _run_one(precision, seed, arguments)
        return
    runs = [
        (precision, seed)
        for seed in arguments.seeds.split(",")
        for precision in arguments.precisions.split(",")
    ]

    def run(one: tuple[str, str], core: int) -> dict[str, Any]:
        folder = arguments.out / "-".join(one)
        _run_on(core, *one, folder, arguments)
        return {"precision": one[0], "seed": int(one[1])} | _read(folder, arguments)

    found = on_free_cores(run, runs, arguments.cores)
    rows = sorted(found, key=lambda row: (row["precision"], row["seed"]))
    print_table(COLUMNS, [_cells(row) for row in rows], f"target: validation {arguments.target:g}")
    print_json("job_precisions", target=arguments.target, rows=rows)


def _run_on(
    core: int, precision: str, seed: str, folder: Path, arguments: argparse.Namespace
) -> None:
    command = [sys.executable, __file__, "--run", precision, seed, "--out", str(arguments.out)]
    run_in_child(f"{precision}, seed {seed}", folder, [*command, "--cores", str(core)])


def _run_one(precision: str, seed: str, arguments: argparse.Namespace) -> None:
    name, _, method = precision.partition("-")
    overrides = [f"engine.precision={name}", f"seed={seed}", "engine.workers=1"]
    if method:
        overrides.append(f"engine.quantization.method={method}")
    spec = load_job_file(JOB, [*overrides, "budget.wall_s=3600"])
    run_here(spec, arguments.out / f"{precision}-{seed}", arguments.cores)


def _read(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    lines = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    tokens_by_generation: dict[int, int] = {0: 0}
    rollout_s, reached = 0.0, None
    result: dict[str, Any] = {}
    for line in lines:
        event = line["event"]
        if event["type"] == "generation":
            tokens_by_generation[event["generation"]] = event["generated_tokens"]
            rollout_s += event["rollout_s"]
        elif event["type"] == "result":
            result = event
        elif reached is None and event["type"] == "validation":
            is_there = event["score"] >= arguments.target
            reached = (line["seconds"], event["generation"]) if is_there else None
    tokens = sum(tokens_by_generation.values())
    seconds, reached_generations = reached or (None, None)
    reached_tokens = None
    if reached_generations is not None:
        # A generation's own event comes after its validation.
        counted = [n for number, n in tokens_by_generation.items() if number <= reached_generations]
        reached_tokens = sum(counted)
    return {
        "test": result["test"],
        "serving": result["serving"],
        "generations": result["generations"],
        "stop_reason": result["stop_reason"],
        "seconds": round(result["seconds"], 1),
        "search_tok_s": round(tokens / rollout_s, 1),
        "seconds_to_target": seconds,
        "generations_to_target": reached_generations,
        "tokens_to_target": reached_tokens,
    }


def _cells(row: dict[str, Any]) -> list[Any]:
    serving = row["serving"]
    to_target = [row[f"{what}_to_target"] for what in ("seconds", "generations", "tokens")]
    return [
        row["precision"],
        row["seed"],
        f"{row['test']['base']['mean']:.3f}",
        f"{row['test']['warm_start']['mean']:.3f}",
        _interval(row["test"]["aligned"]),
        _interval(serving["test"]["aligned"]) if serving else "",
        row["generations"],
        float(row["seconds"]),
        float(row["search_tok_s"]),
        *("not reached" if value is None else value for value in to_target),
    ]


def _interval(score: dict[str, Any]) -> str:
    low, high = score["ci95"]
    return f"{score['mean']:.3f} [{low:.3f}, {high:.3f}]"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--precisions",
        default="bf16,int8,int4,int4-gptq",
        help="formats of the base, with the method of quantisation behind a dash if not rtn",
    )
    parser.add_argument("--seeds", default="0,1,2", help="comma-separated")
    parser.add_argument(
        "--cores",
        type=numbers,
        default=sorted(os.sched_getaffinity(0)),
        help="one job at a time on each, comma-separated; all by default",
    )
    parser.add_argument("--target", type=float, default=1.3, help="validation score")
    parser.add_argument("--out", type=Path, default=CACHE / "job_precisions", help="runs, kept")
    parser.add_argument("--run", nargs=2, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
