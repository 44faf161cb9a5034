"""What a generation's switch costs: milliseconds of `set_population`, and memory per candidate.

The time is that of the whole call on the engine's port: from the float32 table in the caller's
memory to the rows of vLLM's slots and an empty prefix cache. Memory is the difference between an
engine with room for a few candidates and one with room for many, both with their population in
place and after a turn.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from engines import running
from populations import ALL_LINEAR, ATTENTION, prepare
from report import print_json, print_table


class Size(NamedTuple):
    """Dimension = 2 x rank x modules: the singular values of A and of B."""

    population: int
    rank: int
    modules: int
    targets: tuple[str, ...]


SIZES = (Size(96, 8, 112, ATTENTION), Size(1024, 64, 160, ALL_LINEAR))
FEW, MANY = 8, 4104
"""Far apart: resident memory of one and the same engine varies by tens of MB."""


def main() -> None:
    """Measure both."""
    arguments = _arguments()
    switches = [_switch(size, arguments) for size in SIZES]
    memory = _memory_per_candidate(SIZES[0], arguments)
    print_table(
        ["population", "dimension", "table MB", "median ms", "worst ms"],
        [list(row.values())[:5] for row in switches],
        f"set_population, {arguments.turns} times",
    )
    print_table(
        ["dimension", f"MB at {FEW}", f"MB at {MANY}", "KB per candidate"],
        [list(memory.values())],
        "memory of one engine",
    )
    print_json("population_switch", switches=switches, memory=memory)


def _switch(size: Size, arguments: argparse.Namespace) -> dict[str, Any]:
    dimension = 2 * size.rank * size.modules
    with tempfile.TemporaryDirectory(prefix="essa-bench-") as folder:
        setup = prepare(
            Path(folder), arguments.precision, size.population,
            modules=size.modules, rank=size.rank, targets=size.targets,
        )  # fmt: skip
        with running([("population", setup, [arguments.core])]) as (engine,):
            engine.turn("switch")
            times_ms = [1e3 * engine.turn("switch")["seconds"] for _ in range(arguments.turns)]
    return {
        "population": size.population,
        "dimension": dimension,
        "table_mb": round(4e-6 * size.population * dimension, 2),
        "median_ms": round(statistics.median(times_ms), 2),
        "worst_ms": round(max(times_ms), 2),
    }


def _memory_per_candidate(size: Size, arguments: argparse.Namespace) -> dict[str, Any]:
    held = []
    for population in (FEW, MANY):
        with tempfile.TemporaryDirectory(prefix="essa-bench-") as folder:
            setup = prepare(
                Path(folder), arguments.precision, population, modules=size.modules, rank=size.rank,
                targets=size.targets, sequences=population,
            )  # fmt: skip
            with running([("population", setup, [arguments.core])]) as (engine,):
                engine.turn("one_by_one", candidates=FEW)
                held.append(engine.turn("switch")["memory"])
    return {
        "dimension": 2 * size.rank * size.modules,
        "few_mb": round(1e-6 * held[0], 1),
        "many_mb": round(1e-6 * held[1], 1),
        "kb_per_candidate": round((held[1] - held[0]) / (MANY - FEW) / 1024, 1),
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--precision", default="bf16", help="bf16, int8 or int4")
    parser.add_argument("--turns", type=int, default=30)
    parser.add_argument("--core", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
