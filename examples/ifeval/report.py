"""What a run scored on IFEval's own 541 prompts: base, warm start and aligned model.

    python examples/ifeval/report.py RUN

RUN is the run's folder; its `rollouts/test.parquet` has every answer. Accuracies are those of
section 2.2 of arXiv:2311.07911. Intervals are 95 %, by bootstrap over prompts; differences to the
base are taken prompt by prompt.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from reward.ifeval.verdict import verdicts

MODELS = ("base", "warm_start", "aligned")
LEVELS = ("prompts, strict", "instructions, strict", "prompts, loose", "instructions, loose")
RESAMPLES = 2000
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Followed:
    """Of one model and one way of checking.

    Attributes:
        prompts_P: whether every instruction of a prompt is followed.
        hits_P, asked_P: instructions followed, and given, by prompt.
        by_type: followed and given, by instruction id.
    """

    prompts_P: np.ndarray
    hits_P: np.ndarray
    asked_P: np.ndarray
    by_type: dict[str, tuple[int, int]]


def main() -> None:
    """Check all answers and print two tables, then one JSON object."""
    arguments = _arguments()
    rows = [json.loads(line) for line in arguments.test.read_text().splitlines()]
    answers = _answers(arguments.run, len(rows))
    found = {
        (model, is_loose): followed(rows, answers[model], is_loose=is_loose)
        for model in MODELS
        for is_loose in (False, True)
    }
    _print_levels(found)
    _print_types(found)
    print(json.dumps(_summary(found)))


def followed(rows: Sequence[dict[str, Any]], answers: Sequence[str], *, is_loose: bool) -> Followed:
    """Check one answer per row."""
    found = [verdicts(row, text, is_loose) for row, text in zip(rows, answers, strict=True)]
    by_type: dict[str, tuple[int, int]] = {}
    for row, one in zip(rows, found, strict=True):
        for kind, good in zip(row["instruction_id_list"], one, strict=True):
            hits, asked = by_type.get(kind, (0, 0))
            by_type[kind] = (hits + good, asked + 1)
    return Followed(
        prompts_P=np.array([all(one) for one in found], dtype=float),
        hits_P=np.array([sum(one) for one in found], dtype=float),
        asked_P=np.array([len(one) for one in found], dtype=float),
        by_type=by_type,
    )


def _answers(run: Path, prompts: int) -> dict[str, list[str]]:
    table = pq.read_table(run / "rollouts" / "test.parquet").to_pylist()
    answers = {model: [""] * prompts for model in MODELS}
    for row in table:
        answers[row["model"]][row["prompt_index"]] = row["completion"]
    if len(table) != prompts * len(MODELS):
        raise SystemExit(
            f"{run} has {len(table)} test answers, expected {len(MODELS)} to each of {prompts} "
            "prompts; run the job with evaluation.rollouts: all"
        )
    return answers


def _rates(one: Followed, other: Followed | None, drawn: np.ndarray) -> list[np.ndarray]:
    """Prompt and instruction level for each draw of prompts, minus those of `other`."""

    def levels(of: Followed) -> list[np.ndarray]:
        hits, asked = of.hits_P[drawn].sum(axis=1), of.asked_P[drawn].sum(axis=1)
        return [of.prompts_P[drawn].mean(axis=1), hits / asked]

    found = levels(one)
    return found if other is None else [a - b for a, b in zip(found, levels(other), strict=True)]


def _summary(found: dict[tuple[str, bool], Followed]) -> dict[str, Any]:
    """Per model and level: accuracy, interval, and the gain over the base with its interval."""
    size = len(found["base", False].prompts_P)
    whole = np.arange(size)[None, :]
    drawn = np.random.default_rng(0).integers(size, size=(RESAMPLES, size))
    summary: dict[str, Any] = {}
    for model in MODELS:
        cells = []
        for is_loose in (False, True):
            one, base = found[model, is_loose], found["base", is_loose]
            for level in range(2):
                gains = _rates(one, base, drawn)[level]
                cells.append(
                    {
                        "accuracy": float(_rates(one, None, whole)[level][0]),
                        "ci95": _interval(_rates(one, None, drawn)[level]),
                        "gain": float(_rates(one, base, whole)[level][0]),
                        "gain_ci95": _interval(gains),
                    }
                )
        summary[model] = dict(zip(LEVELS, cells, strict=True))
    return summary


def _interval(values: np.ndarray) -> list[float]:
    return [round(float(value), 4) for value in np.quantile(values, [0.025, 0.975])]


def _print_levels(found: dict[tuple[str, bool], Followed]) -> None:
    print("| | " + " | ".join(LEVELS) + " |")
    print("|" + "---|" * (1 + len(LEVELS)))
    for model, cells in _summary(found).items():
        shown = []
        for cell in cells.values():
            text = "{:.1f} [{:.1f}, {:.1f}]".format(
                *(100 * value for value in (cell["accuracy"], *cell["ci95"]))
            )
            if model != "base":
                gains = (cell["gain"], *cell["gain_ci95"])
                text += ", {:+.1f} [{:+.1f}, {:+.1f}]".format(*(100 * value for value in gains))
            shown.append(text)
        print(f"| {model.replace('_', ' ')} | " + " | ".join(shown) + " |")


def _print_types(found: dict[tuple[str, bool], Followed]) -> None:
    print("\n| instruction | given | " + " | ".join(MODELS).replace("_", " ") + " |")
    print("|" + "---|" * (2 + len(MODELS)))
    for kind, (_, asked) in sorted(found["base", False].by_type.items()):
        rates = [f"{100 * found[model, False].by_type[kind][0] / asked:.0f}" for model in MODELS]
        print(f"| {kind} | {asked} | " + " | ".join(rates) + " |")
    print()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="the run's folder")
    parser.add_argument(
        "--test", type=Path, default=HERE / "test.jsonl", help="the rows that were tested"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
