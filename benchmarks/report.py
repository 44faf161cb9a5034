"""What every benchmark prints: Markdown tables, and one JSON object as the last line."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np

RESAMPLES = 2000


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], title: str = "") -> None:
    """Print a Markdown table; floats are shown with three significant digits."""
    if title:
        print(f"\n**{title}**\n")
    print("| " + " | ".join(columns) + " |")
    print("|" + "---|" * len(columns))
    for row in rows:
        print("| " + " | ".join(_shown(cell) for cell in row) + " |", flush=True)


def print_json(benchmark: str, **content: Any) -> None:
    """Print the last line."""
    print()
    print(json.dumps({"benchmark": benchmark, **content}), flush=True)


def ratio(ours: Sequence[float], others: Sequence[float], starts: int = 1) -> dict[str, Any]:
    """Median of the ratios turn by turn, with a 95 % bootstrap interval.

    Neighbours in time saw the same machine, so its drift cancels.

    Args:
        ours, others: the same number of turns from each start, start by start.
        starts: times the engines were started; with several, starts are drawn and then turns.
    """
    pairs = np.array([a / b for a, b in zip(ours, others, strict=True)]).reshape(starts, -1)
    rng = np.random.default_rng(0)
    medians = []
    for _ in range(RESAMPLES):
        drawn = pairs[rng.integers(starts, size=starts)]
        medians.append(np.median(rng.choice(drawn, size=drawn.shape[1], axis=1)))
    low, high = np.quantile(medians, [0.025, 0.975])
    return {
        "ratio": round(float(np.median(pairs)), 3),
        "ci95": [round(float(low), 3), round(float(high), 3)],
        "by_start": [round(float(value), 3) for value in np.median(pairs, axis=1)],
        "turns": pairs.size,
    }


def shown_ratio(found: dict[str, Any]) -> str:
    """A ratio with its interval, for a table."""
    low, high = found["ci95"]
    return f"{found['ratio']:.3g} [{low:.3g}, {high:.3g}]"


def median(values: Sequence[float]) -> float:
    """Median, rounded for JSON."""
    return round(statistics.median(values), 2)


def _shown(cell: Any) -> str:
    if isinstance(cell, float):
        return f"{cell:,.0f}" if abs(cell) >= 100 else f"{cell:.3g}"
    return f"{cell:,}" if isinstance(cell, int) else str(cell)
