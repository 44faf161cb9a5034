"""Tokens per second of the base model itself: vLLM's defaults against our engines, same cores.

  defaults      `vllm.LLM(model).generate(...)`, told only how much memory it may have, all cores
  one engine    our engine without adapters on the first core
  all engines   one such engine a core, each with its share of the sequences

They take turns. Ratios are medians turn by turn.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cores import numbers
from engines import EngineProcess, running
from populations import prepare
from report import median, print_json, print_table, ratio, shown_ratio

COLUMNS = (
    "ours",
    "defaults",
    "defaults tok/s",
    "one engine",
    "all engines",
    "/ defaults",
    "/ one engine",
)


def main() -> None:
    """Measure every precision."""
    arguments = _arguments()
    rows = [_measure(precision, arguments) for precision in arguments.precisions.split(",")]
    print_table(
        COLUMNS,
        [
            [
                row["precision"], row["defaults_precision"], float(row["defaults_tok_s"]),
                float(row["one_engine_tok_s"]), float(row["all_engines_tok_s"]),
                shown_ratio(row["all_over_defaults"]),
                shown_ratio(row["all_over_one"]),
            ]
            for row in rows
        ],
        f"{arguments.sequences} sequences, {arguments.prompt_tokens} + {arguments.new_tokens} "
        f"tokens, {len(arguments.cores)} cores",
    )  # fmt: skip
    print_json("base_throughput", rows=rows)


def _measure(precision: str, arguments: argparse.Namespace) -> dict[str, Any]:
    cores = arguments.cores
    with tempfile.TemporaryDirectory(prefix="essa-bench-") as folder:
        shape = {
            "sequences": arguments.sequences,
            "prompt_tokens": arguments.prompt_tokens,
            "new_tokens": arguments.new_tokens,
        }
        ours = prepare(Path(folder), precision, 1, **shape)
        plain = prepare(Path(folder), arguments.defaults or precision, 1, **shape)
        share = replace(ours, sequences=arguments.sequences // len(cores))
        starts = [("base", share, [core]) for core in cores]
        with running([("defaults", plain, cores), *starts]) as (defaults, *engines):
            defaults.speed()
            _together(engines)
            speeds: dict[str, list[float]] = {"defaults": [], "one": [], "all": []}
            for _ in range(arguments.turns):
                speeds["defaults"].append(defaults.speed())
                speeds["all"].append(_together(engines))
                speeds["one"].append(engines[0].speed())
    return {
        "precision": precision,
        "defaults_precision": arguments.defaults or precision,
        "defaults_tok_s": median(speeds["defaults"]),
        "one_engine_tok_s": median(speeds["one"]),
        "all_engines_tok_s": median(speeds["all"]),
        "all_over_defaults": ratio(speeds["all"], speeds["defaults"]),
        "all_over_one": ratio(speeds["all"], speeds["one"]),
    }


def _together(engines: Sequence[EngineProcess]) -> float:
    """Tokens per second of all engines at once, until the last has finished."""
    started_s = time.perf_counter()
    for engine in engines:
        engine.ask("all")
    tokens = sum(engine.answer()["tokens"] for engine in engines)
    return tokens / (time.perf_counter() - started_s)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--precisions", default="bf16,int8", help="bf16, int8 or int4")
    parser.add_argument(
        "--defaults", default="", help="precision of the model with defaults; the same if empty"
    )
    parser.add_argument("--sequences", type=int, default=384)
    parser.add_argument("--prompt-tokens", type=int, default=40)
    parser.add_argument("--new-tokens", type=int, default=24)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument(
        "--cores",
        type=numbers,
        default=sorted(os.sched_getaffinity(0)),
        help="comma-separated; all by default",
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
