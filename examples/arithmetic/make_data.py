"""Write the four data files of the arithmetic example. Deterministic; overwrites them.

The search's rows hold right answers. The pairs of the SFT warm start come from a teacher who
forgets the carries of three problems in five, so that the warm start ends well below what the model
could do.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from problems import Problem, draw_distinct, label

HERE = Path(__file__).resolve().parent
SIGN = "?"
SEED = 20250704
SIZES = {"test": 1000, "validation": 512, "train": 4000, "sft": 4000}
CARELESS_SHARE = 0.6


def draw_splits() -> dict[str, list[Problem]]:
    """Draw every set; no problem is in two of them."""
    rng = random.Random(SEED)
    taken: set[Problem] = set()
    return {name: draw_distinct(rng, size, taken) for name, size in SIZES.items()}


def reserved_problems() -> set[Problem]:
    """All problems of all sets, which the base model must not train on."""
    return {problem for problems in draw_splits().values() for problem in problems}


def build_rows() -> dict[str, list[dict[str, Any]]]:
    """The rows of every file, by file name."""
    splits = draw_splits()
    rng = random.Random(SEED + 1)
    rows: dict[str, list[dict[str, Any]]] = {
        f"{name}.jsonl": [
            {"prompt": problem.prompt(SIGN), "answer": problem.answer} for problem in splits[name]
        ]
        for name in ("train", "validation", "test")
    }
    rows["sft.jsonl"] = [
        {"prompt": problem.prompt(SIGN), "completion": label(problem, CARELESS_SHARE, rng)}
        for problem in splits["sft"]
    ]
    return rows


def main() -> None:
    """Write the files beside this script."""
    for name, rows in build_rows().items():
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (HERE / name).write_text(text, encoding="utf-8")
        print(f"{name}: {len(rows)} rows")


if __name__ == "__main__":
    main()
