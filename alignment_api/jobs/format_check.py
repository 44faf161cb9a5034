"""Check whether this machine supports the precisions of a job."""

from __future__ import annotations

import os
from pathlib import Path

from alignment_api.composition import machine_formats
from alignment_api.doctor.cpu_flags import cpu_flags
from alignment_api.processes.devices import find_devices
from essa.errors import EngineStartError, SpecError
from essa.number_format import MachineFormats
from essa.spec import AlignmentJobSpec, Precision
from essa.spec.reading.problem import Problem

_ROUNDED = (Precision.INT8, Precision.INT4)
"""Precisions to check; the others run everywhere, if need be with wider activations."""


def format_problems(
    spec: AlignmentJobSpec, cache_dir: Path, *, may_measure: bool = True
) -> list[Problem]:
    """Find the job's precisions for which this machine has no matrix product.

    Engines on another cluster are not checked here; the cluster is asked when the job starts.

    Args:
        cache_dir: folder that caches the measured formats.
        may_measure: whether to measure if nothing is cached, which takes a few seconds; if False,
            only the CPU's flags decide.
    """
    asked = {
        "engine.precision": spec.engine.precision,
        "evaluation.serving_precision": spec.serving_precision,
    }
    asked = {field: precision for field, precision in asked.items() if precision in _ROUNDED}
    if not asked or spec.engine.quantizes_on_load or os.environ.get("ESSA_RAY_ADDRESS"):
        return []
    try:
        formats = machine_formats(cache_dir, may_measure=may_measure)
    except EngineStartError as error:
        return [Problem("engine.kind", spec.engine.kind, error.message)]
    return [
        Problem(field, str(precision), fix)
        for field, precision in asked.items()
        if (fix := _fault(field, Precision(precision), formats)) is not None
    ]


def _fault(field: str, precision: Precision, formats: MachineFormats | None) -> str | None:
    if formats is None:
        if precision is Precision.INT4 and _is_small_cpu():
            return (
                "this CPU has no AVX-512, without which vLLM has no product of int4 weights; set "
                "it to int8 or bf16"
            )
        return None
    try:
        formats.activations(precision)
    except SpecError as error:
        return error.message.replace("engine.precision", field)
    return None


def _is_small_cpu() -> bool:
    flags = cpu_flags()
    is_lowered = os.environ.get("ATEN_CPU_CAPABILITY", "").lower() in ("avx2", "default")
    has_gpu = bool(find_devices(None, os.environ).gpus)
    return not has_gpu and "avx2" in flags and (is_lowered or "avx512f" not in flags)
