"""Whether this machine can compute what a job asks for."""

from __future__ import annotations

import os
from pathlib import Path

from alignment_api.composition import machine_formats
from essa.errors import EngineStartError, SpecError
from essa.spec import AlignmentJobSpec, Precision
from essa.spec.problem import Problem

_MADE_BY_US = (Precision.INT8, Precision.INT4)
"""The others run everywhere, if need be with wider activations."""


def format_problems(spec: AlignmentJobSpec, cache_dir: Path) -> list[Problem]:
    """Precisions for which this machine has no product.

    Nothing is said of engines on another cluster, which is asked when the job starts.

    Args:
        cache_dir: where what was measured is remembered.
    """
    asked = {
        "engine.precision": spec.engine.precision,
        "evaluation.serving_precision": spec.serving_precision,
    }
    asked = {field: precision for field, precision in asked.items() if precision in _MADE_BY_US}
    if not asked or spec.engine.kind != "vllm" or os.environ.get("ESSA_RAY_ADDRESS"):
        return []
    try:
        formats = machine_formats(cache_dir)
    except EngineStartError as error:
        return [Problem("engine.kind", spec.engine.kind, error.message)]
    problems = []
    for field, precision in asked.items():
        try:
            formats.activations(Precision(precision))
        except SpecError as error:
            fix = error.message.replace("engine.precision", field)
            problems.append(Problem(field, str(precision), fix))
    return problems
