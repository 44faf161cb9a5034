"""Tokens per second of a population on one vLLM engine, against its alternatives.

Ways to generate the same number of tokens for N candidates on the same prompts:

  base        the same engine without adapters: the floor of what any method can cost
  population  our path: shared bases, one row of scales per candidate
  multi-LoRA  stock vLLM's own LoRA path, one adapter folder per candidate, already loaded
  one by one  our path, one candidate at a time

Each lives in a process of its own on the same core; they take turns, so that a change in the
machine's speed meets all of them. A ratio is the median of ratios turn by turn, with a 95 %
bootstrap interval. Two processes of one and the same engine differ by up to 2 % for their whole
life, so base and population are started several times and the interval is over starts too.

Prefix caching is off in all of them: the base would share every prompt, a population only those of
one candidate. With several cores, rows run side by side, one a core, as engines do in a pool.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cores import on_free_cores
from engines import running
from populations import TARGETS, Setup, prepare
from report import median, print_json, print_table, ratio, shown_ratio

COLUMNS = (
    "precision", "population", "sequences", "prompt + new tokens", "rank", "layers",
    "base tok/s", "population tok/s", "/ base", "/ multi-LoRA", "/ one by one",
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One row."""

    precision: str
    population: int
    sequences: int
    prompt_tokens: int
    new_tokens: int
    rank: int
    layers: str


def main() -> None:
    """Measure every combination of what was asked for."""
    arguments = _arguments()
    cases = [
        Case(precision, population, sequences, prompt, new, rank, layers)
        for precision, population, sequences, (prompt, new), rank, layers in itertools.product(
            arguments.precisions,
            arguments.populations,
            arguments.sequences,
            arguments.shapes,
            arguments.ranks,
            arguments.layers,
        )
    ]

    def measure(case: Case, core: int) -> dict[str, Any]:
        return _measure(case, core, arguments)

    rows = on_free_cores(measure, cases, arguments.cores)
    print_table(COLUMNS, [_cells(row) for row in rows])
    print_json("population_throughput", rows=rows)


def _measure(case: Case, core: int, arguments: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="essa-bench-") as folder:
        setup = prepare(
            Path(folder),
            case.precision,
            case.population,
            with_adapters=arguments.slow_turns > 0,
            rank=case.rank,
            targets=TARGETS[case.layers],
            sequences=max(case.sequences, case.population),
            prompt_tokens=case.prompt_tokens,
            new_tokens=case.new_tokens,
        )
        found = _against_base(setup, core, arguments)
        if arguments.slow_turns:
            found |= _against_others(setup, core, arguments.slow_turns)
        return vars(case) | found


def _against_base(setup: Setup, core: int, arguments: argparse.Namespace) -> dict[str, Any]:
    speeds: dict[str, list[float]] = {"base": [], "population": []}
    for _ in range(arguments.starts):
        with running([(way, setup, [core]) for way in speeds]) as engines:
            named = list(zip(speeds, engines, strict=True))
            for engine in engines:
                engine.speed()
            for turn in range(arguments.turns):
                # The order alternates: otherwise it would always be the same one that goes first.
                for name, engine in named[:: 1 if turn % 2 else -1]:
                    speeds[name].append(engine.speed())
    return {
        **{f"{name}_tok_s": median(values) for name, values in speeds.items()},
        "population_over_base": ratio(speeds["population"], speeds["base"], arguments.starts),
    }


def _against_others(setup: Setup, core: int, turns: int) -> dict[str, Any]:
    each = -(-setup.sequences // setup.population)
    candidates = min(setup.population, max(1, 16 // each))
    together, folders, alone = [], [], []
    with running([(way, setup, [core]) for way in ("population", "multilora")]) as (ours, stock):
        ours.speed()
        stock.speed()
        for _ in range(turns):
            together.append(ours.speed())
            folders.append(stock.speed())
            alone.append(ours.speed("one_by_one", candidates=candidates))
    return {
        "multilora_tok_s": median(folders),
        "one_by_one_tok_s": median(alone),
        "population_over_multilora": ratio(together, folders),
        "population_over_one_by_one": ratio(together, alone),
    }


def _cells(row: dict[str, Any]) -> list[Any]:
    ratios = ("population_over_base", "population_over_multilora", "population_over_one_by_one")
    return [
        row["precision"], row["population"], row["sequences"],
        f"{row['prompt_tokens']} + {row['new_tokens']}", row["rank"], row["layers"],
        float(row["base_tok_s"]), float(row["population_tok_s"]),
        *(shown_ratio(row[name]) if name in row else "" for name in ratios),
    ]  # fmt: skip


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )

    def add(name: str, kind: Any, default: str, text: str) -> None:
        parser.add_argument(
            name,
            type=lambda given: [kind(one) for one in given.split(",")],
            default=default,
            help=f"{text}, comma-separated (default {default})",
        )

    add("--precisions", str, "bf16,int8,int4", "formats of the base")
    add("--populations", int, "32,96", "candidates")
    add("--sequences", int, "192", "sequences of a turn, at least one a candidate")
    add("--shapes", _shape, "40x24", "prompt tokens x new tokens")
    add("--ranks", int, "8", "ranks of the adapter")
    add("--layers", _layers, "qkvo", "qkvo or all-linear")
    add("--cores", int, "0", "one row at a time on each of these CPU cores")
    parser.add_argument(
        "--starts", type=int, default=3, help="times base and population are started anew"
    )
    parser.add_argument("--turns", type=int, default=4, help="pairs of them after each start")
    parser.add_argument(
        "--slow-turns", type=int, default=2, help="turns of multi-LoRA and one by one; 0: neither"
    )
    return parser.parse_args()


def _shape(given: str) -> tuple[int, int]:
    prompt, _, new = given.partition("x")
    return int(prompt), int(new)


def _layers(given: str) -> str:
    if given not in TARGETS:
        raise ValueError(given)
    return given


if __name__ == "__main__":
    main()
