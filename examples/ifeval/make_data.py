"""Write train.jsonl, validation.jsonl and test.jsonl of the IFEval example. Deterministic.

    python examples/ifeval/make_data.py --ifeval PROMPTS.jsonl [--out FOLDER]

The test set is IFEval's own 541 prompts, as they are. Training and validation prompts are made
from the requests and wordings beside this script; no request is in both. A generated prompt that
has eight words in a row in common with a prompt of IFEval stops the script before it writes.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from pathlib import Path
from typing import Any

import yaml
from generation import GenerationError, Request, draw_rows
from overlap import find_overlaps

HERE = Path(__file__).resolve().parent
COLUMNS = ("key", "prompt", "instruction_id_list", "kwargs")
HELD_OUT = 1 / 6
"""Share of the requests that is kept for validation."""
FIRST_KEYS = {"train": 100_000, "validation": 200_000}
"""Keys count up from here; IFEval's own end below 4,000."""


class SourceError(Exception):
    """IFEval's file is missing or not of its form, or shares text with the generated prompts."""


def build_sets(seed: int, sizes: dict[str, int]) -> dict[str, list[dict[str, Any]]]:
    """Generate the rows of every set in `sizes` (`train`, `validation`).

    Returns:
        Rows of `COLUMNS`, and `request`, what the prompt asks for without its instructions.
    Raises:
        GenerationError: more rows are wanted than the requests have different prompts for.
    """
    wordings = _read_yaml("wordings.yaml")
    requests = split_requests(random.Random(f"{seed} requests"))
    sets: dict[str, list[dict[str, Any]]] = {}
    for name, count in sizes.items():
        rows = draw_rows(count, requests[name], wordings, random.Random(f"{seed} {name}"))
        sets[name] = [{"key": FIRST_KEYS[name] + n, **row} for n, row in enumerate(rows)]
    return sets


def split_requests(rng: random.Random) -> dict[str, list[Request]]:
    """Deal the requests out to training and validation, questions and short ones alike."""
    source = _read_yaml("base_requests.yaml")
    requests = [Request(**each) for each in source["requests"]]
    groups = (
        [request for request in requests if request.short],
        [request for request in requests if not request.short],
        [Request(ask) for ask in source["questions"]],
    )
    dealt: dict[str, list[Request]] = {"train": [], "validation": []}
    for group in groups:
        rng.shuffle(group)
        cut = round(len(group) * HELD_OUT)
        dealt["validation"] += group[:cut]
        dealt["train"] += group[cut:]
    return dealt


def _read_yaml(name: str) -> Any:
    return yaml.safe_load((HERE / name).read_text(encoding="utf-8"))


def read_tested_prompts(path: Path) -> list[str]:
    """The prompts of IFEval's file.

    Raises:
        SourceError: no such file, or a line without one of `COLUMNS`.
    """
    if not path.is_file():
        raise SourceError(f"--ifeval: {path} does not exist; give the file with IFEval's prompts")
    prompts = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            prompts.append([row[column] for column in COLUMNS][1])
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise SourceError(
                f"{path.name}, line {number}: expected {', '.join(COLUMNS)}, found {line[:200]!r}"
            ) from error
    return prompts


def check_against(sets: dict[str, list[dict[str, Any]]], tested: list[str]) -> None:
    """Refuse generated rows that share text with the tested prompts.

    Raises:
        SourceError: names the first few of them.
    """
    rows = [row for name in sets for row in sets[name]]
    requests = sorted({row["request"] for row in rows})
    overlaps = find_overlaps([row["prompt"] for row in rows], requests, tested)
    if overlaps:
        raise SourceError(
            f"{len(overlaps)} overlaps with IFEval; reword base_requests.yaml or wordings.yaml:\n"
            + "\n".join(overlaps[:5])
        )


def main(arguments: list[str] | None = None) -> int:
    """Write the files; returns the exit status."""
    parser = argparse.ArgumentParser(description="Make the data of examples/ifeval/job.yaml.")
    parser.add_argument("--ifeval", type=Path, required=True, help="JSONL with IFEval's prompts")
    parser.add_argument("--out", type=Path, default=HERE, help="where to write; beside job.yaml")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--train", type=int, default=1200, help="training rows")
    parser.add_argument("--validation", type=int, default=160, help="validation rows")
    args = parser.parse_args(arguments)
    try:
        sets = build_sets(args.seed, {"train": args.train, "validation": args.validation})
        check_against(sets, read_tested_prompts(args.ifeval))
    except (SourceError, GenerationError) as error:
        print(error, file=sys.stderr)
        return 2
    args.out.mkdir(parents=True, exist_ok=True)
    for name, rows in sets.items():
        kept = [{column: row[column] for column in COLUMNS} for row in rows]
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in kept)
        (args.out / f"{name}.jsonl").write_text(text, encoding="utf-8")
        print(f"{name}.jsonl: {len(rows)} rows")
    (args.out / "test.jsonl").write_bytes(args.ifeval.read_bytes())
    print(f"test.jsonl: IFEval's prompts from {args.ifeval}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
