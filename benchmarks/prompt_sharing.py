"""What it is worth that all candidates of a generation answer the same prompts.

One generation answers very many prompts. Fitness on half of them stands for what candidates are
really worth; from the other half, fitness is made of few prompts, the same for all candidates or
for each its own, and held against it. Nothing of this is timed.

    prompt_sharing.py --job examples/arithmetic/job.yaml --sigma 0.3 --population 32 --prompts 512
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
from cores import numbers
from job_runs import folder_name, read_events, run_here, run_in_child
from populations import CACHE
from report import print_json, print_table

from essa.spec.reading.file import load_job_file
from essa.types import FloatArray

JOB = Path(__file__).parents[1] / "examples" / "upbeat" / "job.yaml"
DRAWS = 400
"""Halvings of the prompts, each with one draw of either kind."""


class Found(NamedTuple):
    """Correlation of fitness on few prompts with that on half of them, over candidates."""

    prompts: int
    shared: float
    separate: float


def main() -> None:
    """Run the generation if it has not run, then print."""
    arguments = _arguments()
    if arguments.run is not None:
        folder, *overrides = arguments.run
        run_here(load_job_file(arguments.job, overrides), Path(folder), arguments.cores)
        return
    folder = arguments.out / _name(arguments)
    run_in_child("the generation", folder, _command(arguments, folder))
    rewards_N_P = _rewards(folder / "run" / "rollouts" / "train-000001.parquet")
    sizes = [size for size in arguments.sizes if size <= rewards_N_P.shape[1] // 2]
    found = [_held_against_half(rewards_N_P, size) for size in sizes]
    print_table(
        ["prompts a candidate", "shared", "each its own"],
        [[one.prompts, one.shared, one.separate] for one in found],
    )
    start = next(one for one in read_events(folder) if one["type"] == "validation")
    print_json(
        "prompt_sharing",
        job=arguments.job.parent.name,
        sigma=arguments.sigma,
        candidates=len(rewards_N_P),
        prompts=rewards_N_P.shape[1],
        warm_start=start["score"],
        spread_of_candidates=float(rewards_N_P.mean(axis=1).std()),
        spread_of_prompts=float(rewards_N_P.mean(axis=0).std()),
        correlations=[one._asdict() for one in found],
    )


def _name(arguments: argparse.Namespace) -> str:
    """Of the run: what it does, so that another is not taken for it."""
    given = f"{arguments.sigma:g}-{arguments.population}x{arguments.prompts}"
    return folder_name("-".join([arguments.job.parent.name, given, *arguments.set]))


def _held_against_half(rewards_N_P: FloatArray, size: int) -> Found:
    count, prompts = rewards_N_P.shape
    rng = np.random.default_rng(0)
    shared, separate = [], []
    for _ in range(DRAWS):
        order = rng.permutation(prompts)
        half, rest = order[: prompts // 2], order[prompts // 2 :]
        worth = rewards_N_P[:, half].mean(axis=1)
        own = np.array([rng.choice(rest, size, replace=False) for _ in range(count)])
        shared.append(_correlation(worth, rewards_N_P[:, rest[:size]].mean(axis=1)))
        separate.append(
            _correlation(worth, np.take_along_axis(rewards_N_P, own, axis=1).mean(axis=1))
        )
    return Found(size, float(np.nanmean(shared)), float(np.nanmean(separate)))


def _correlation(first: FloatArray, second: FloatArray) -> float:
    if first.std() == 0 or second.std() == 0:
        return float("nan")
    return float(np.corrcoef(first, second)[0, 1])


def _rewards(path: Path) -> FloatArray:
    """Shape (N, P), prompts left out that somebody has no score for."""
    import pyarrow.parquet as pq

    table = pq.read_table(path, columns=["candidate", "score"]).to_pydict()
    scores = np.array(table["score"], dtype=np.float64)
    candidates = len(set(table["candidate"]))
    rewards_N_P = scores.reshape(candidates, -1)
    return rewards_N_P[:, np.isfinite(rewards_N_P).all(axis=0)]


def _command(arguments: argparse.Namespace, folder: Path) -> list[str]:
    settings = [
        f"engine.workers={len(arguments.cores)}",
        f"search.population={arguments.population}",
        f"search.sigma_init={arguments.sigma}",
        f"batch_size={arguments.prompts}",
        "budget={generations: 1}",
        "evaluation={every: 1, rollouts: all}",
        "data.test.limit=8",
        *arguments.set,
    ]
    command = [sys.executable, __file__, "--job", str(arguments.job)]
    command += ["--cores", ",".join(map(str, arguments.cores)), "--sigma", str(arguments.sigma)]
    return [*command, "--run", str(folder), *settings]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--job", type=Path, default=JOB, help="default: that of make demo")
    parser.add_argument("--sigma", type=float, default=3.0, help="step size (default %(default)s)")
    parser.add_argument("--population", type=int, default=16, help="candidates (default 16)")
    parser.add_argument("--prompts", type=int, default=192, help="of the generation (default 192)")
    parser.add_argument("--sizes", type=numbers, default=(4, 8, 16, 24, 32, 64), metavar="A,B")
    parser.add_argument("--set", action="append", default=[], help="a setting of the job")
    parser.add_argument("--cores", type=numbers, default=(0, 1), help="such as 0,1")
    parser.add_argument("--out", type=Path, default=CACHE / "prompt_sharing", help="runs, kept")
    parser.add_argument("--run", nargs="+", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
