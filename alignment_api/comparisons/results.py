"""The numbers of a comparison, as JSON and as tables."""

from __future__ import annotations

import math
from dataclasses import fields, is_dataclass
from typing import Any

from alignment_api.comparisons.schemas import ComparisonTable
from essa.comparison.report.tables import all_tables
from essa.comparison.summary import Summary


def results_of(summary: Summary) -> dict[str, Any] | None:
    """Return the numbers as JSON; None before the first validation."""
    if not any(run.points for run in summary.runs):
        return None
    found = {
        "curves": summary.curves,
        "time_to_target": summary.reached,
        "time_to_target_over_seeds": summary.arms_reached,
        "test": summary.scores,
        "costs": summary.costs,
        "costs_over_seeds": summary.arm_costs,
    }
    return {name: as_json(value) for name, value in found.items()}


def tables_of(summary: Summary) -> list[ComparisonTable]:
    """Return the same numbers as tables for people."""
    return [
        ComparisonTable(
            title=table.title,
            note=table.note,
            columns=list(table.columns),
            rows=[list(row) for row in table.rows],
        )
        for table in all_tables(summary)
    ]


def as_json(value: Any) -> Any:
    """Convert to plain data: records become objects, and numbers that JSON lacks become null."""
    if hasattr(value, "_asdict"):
        return as_json(value._asdict())
    if is_dataclass(value) and not isinstance(value, type):
        return {part.name: as_json(getattr(value, part.name)) for part in fields(value)}
    if isinstance(value, dict):
        return {str(name): as_json(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
