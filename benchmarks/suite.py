"""Every benchmark of the engine, one after the other: build/bench/results.json and results.md.

Takes about an hour on an idle machine of two cores; --quick takes minutes and is too short to
quote. A part that fails is named at the end; what it printed is kept, and so are the others.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent


class Part(NamedTuple):
    """One script with its arguments; `quick` is added in a quick run."""

    title: str
    script: str
    arguments: tuple[str, ...] = ()
    quick: tuple[str, ...] = ()


PARTS = (
    Part(
        "Throughput by precision",
        "population_throughput.py",
        quick=("--starts", "1", "--slow-turns", "1", "--populations", "32"),
    ),
    Part(
        "Throughput by population",
        "population_throughput.py",
        ("--precisions", "int8", "--populations", "8,512", "--sequences", "512"),
        ("--starts", "1", "--turns", "2", "--slow-turns", "1", "--populations", "8"),
    ),
    Part(
        "Throughput by prompt and answer length",
        "population_throughput.py",
        ("--precisions", "bf16,int8", "--populations", "32", "--shapes", "200x24,40x96",
         "--slow-turns", "0"),
        ("--starts", "1", "--turns", "2", "--precisions", "int8"),
    ),
    Part(
        "Growth with rank and adapted layers",
        "population_throughput.py",
        ("--precisions", "int8", "--populations", "32", "--ranks", "2,32",
         "--layers", "qkvo,all-linear", "--slow-turns", "0"),
        ("--starts", "1", "--turns", "2", "--ranks", "2"),
    ),
    Part(
        "Growth with sequences",
        "population_throughput.py",
        ("--precisions", "int8", "--populations", "32", "--sequences", "32,96,384",
         "--slow-turns", "0"),
        ("--starts", "1", "--turns", "2", "--sequences", "96"),
    ),
    Part("The base itself, and growth with engines", "base_throughput.py", quick=("--turns", "2")),
    Part("Switch and memory", "population_switch.py", quick=("--turns", "5")),
    Part(
        "Generations of the demo job", "generation_rate.py", ("--precisions", "bf16,int8,int4"),
        ("--turns", "1", "--precisions", "int8"),
    ),
    Part("The plan", "plan_scaling.py", quick=("--generations", "1")),
    Part("The gate", "gate_table.py", quick=("--ranks", "8")),
)  # fmt: skip


def main() -> None:
    """Run the parts and write both files after each."""
    arguments = _arguments()
    arguments.out.mkdir(parents=True, exist_ok=True)
    results: dict[str, object] = {}
    pages: list[str] = []
    failed: list[str] = []
    for part in PARTS:
        if arguments.only and arguments.only not in part.script:
            continue
        started_s = time.monotonic()
        print(f"## {part.title} ...", flush=True)
        code, output = _run(part, arguments.quick)
        if code != 0:
            failed.append(part.title)
        if not output.rstrip().endswith("}"):
            continue
        text, _, last = output.rstrip().rpartition("\n")
        results[part.title] = json.loads(last)
        seconds = time.monotonic() - started_s
        pages.append(f"## {part.title}\n\n{text.strip()}\n\n{seconds:.0f} s\n")
        print(f"{text.strip()}\n\n{seconds:.0f} s\n", flush=True)
        (arguments.out / "results.json").write_text(json.dumps(results, indent=2) + "\n")
        (arguments.out / "results.md").write_text("\n".join(["# Benchmarks\n", *pages]))
    print(json.dumps({"benchmark": "suite", "parts": list(results), "failed": failed}))
    sys.exit(1 if failed else 0)


def _run(part: Part, is_quick: bool) -> tuple[int, str]:
    command = [sys.executable, str(HERE / part.script), *part.arguments]
    if is_quick:
        command += part.quick
    cores = ",".join(map(str, sorted(os.sched_getaffinity(0))))
    if part.script == "population_throughput.py":
        command += ["--cores", cores]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        print(f"{' '.join(command)} exited with {done.returncode}", file=sys.stderr)
    return done.returncode, done.stdout


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="short turns, fewer rows")
    parser.add_argument("--only", default="", help="parts whose script's name holds this")
    parser.add_argument("--out", type=Path, default=Path("build/bench"), help="where to write")
    return parser.parse_args()


if __name__ == "__main__":
    main()
