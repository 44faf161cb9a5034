"""Turn the official GSM8K files into the four files that job.yaml reads.

    python examples/gsm8k/prepare.py FOLDER_WITH_TRAIN_AND_TEST_JSONL [--out FOLDER]

The 7,473 training problems are shuffled by a fixed seed and cut into 1,495 for the SFT warm start
(the paper's number), 500 for validation and the rest for the search. The 1,319 official test
problems are left for the one final score.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SFT_ROWS = 1495
VALIDATION_ROWS = 500
SEED = 0
CALCULATION = re.compile(r"<<[^<>]*>>")
FINAL_ANSWER = re.compile(r"\n#### *(?P<number>-?[\d,]*\.?\d+) *$")


class SourceError(Exception):
    """An official file is missing, too short, or has a row that is not GSM8K."""


def read_problems(path: Path) -> list[dict[str, str]]:
    """Read one official file.

    Returns:
        Rows of `prompt` (the question), `solution` (the steps, without calculator marks) and
        `answer` (the final number, without thousands separators).
    Raises:
        SourceError: the file is missing or a row has no question or no final answer.
    """
    if not path.is_file():
        raise SourceError(f"{path} does not exist; give the folder of GSM8K's train and test.jsonl")
    lines = path.read_text(encoding="utf-8").split("\n")
    return [
        parse_problem(line, f"{path.name}, line {number}")
        for number, line in enumerate(lines, start=1)
        if line.strip()
    ]


def parse_problem(line: str, where: str) -> dict[str, str]:
    """Take one official row apart; `where` names it in errors."""
    try:
        row = json.loads(line)
        question, answer = row["question"], row["answer"]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise SourceError(f"{where}: expected `question` and `answer`, found {line!r}") from error
    text = CALCULATION.sub("", answer)
    final = FINAL_ANSWER.search(text)
    if final is None:
        raise SourceError(f"{where}: the answer does not end in `#### number`: {answer!r}")
    return {
        "prompt": question.strip(),
        "solution": text[: final.start()].strip(),
        "answer": final["number"].replace(",", ""),
    }


def build_files(train: list[dict[str, str]], test: list[dict[str, str]]) -> dict[str, list[Any]]:
    """Cut the official sets into the rows of every file, by file name.

    Raises:
        SourceError: the training set leaves no problem for the search.
    """
    if len(train) <= SFT_ROWS + VALIDATION_ROWS:
        raise SourceError(
            f"the training file has {len(train)} problems; the warm start and validation alone "
            f"take {SFT_ROWS + VALIDATION_ROWS}"
        )
    shuffled = random.Random(SEED).sample(train, len(train))
    sft, rest = shuffled[:SFT_ROWS], shuffled[SFT_ROWS:]
    return {
        "sft.jsonl": [
            {
                "prompt": row["prompt"],
                "completion": f"{row['solution']}\nThe answer is \\boxed{{{row['answer']}}}.",
            }
            for row in sft
        ],
        "validation.jsonl": [strip_solution(row) for row in rest[:VALIDATION_ROWS]],
        "train.jsonl": [strip_solution(row) for row in rest[VALIDATION_ROWS:]],
        "test.jsonl": [strip_solution(row) for row in test],
    }


def strip_solution(row: dict[str, str]) -> dict[str, str]:
    """Only what the search may see: the question, and the number for the reward."""
    return {"prompt": row["prompt"], "answer": row["answer"]}


def main(arguments: list[str] | None = None) -> int:
    """Write the files; returns the exit status."""
    parser = argparse.ArgumentParser(description="Prepare GSM8K for examples/gsm8k/job.yaml.")
    parser.add_argument("source", type=Path, help="folder with the official train and test.jsonl")
    parser.add_argument("--out", type=Path, default=HERE, help="where to write; beside job.yaml")
    args = parser.parse_args(arguments)
    try:
        problems = [read_problems(args.source / f"{name}.jsonl") for name in ("train", "test")]
        files = build_files(*problems)
    except SourceError as error:
        print(error, file=sys.stderr)
        return 2
    args.out.mkdir(parents=True, exist_ok=True)
    for name, rows in files.items():
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (args.out / name).write_text(text, encoding="utf-8")
        print(f"{name}: {len(rows)} rows")
    return 0


if __name__ == "__main__":
    sys.exit(main())
