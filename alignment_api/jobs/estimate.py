"""Estimate what a job will need, as far as possible without loading a model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from alignment_api.jobs.answers import Estimate
from alignment_api.jobs.events import EventRepository
from alignment_api.store.stored_job import StoredJob
from essa.errors import EssaError
from essa.events import RoundEvent, finite
from essa.plan.base_config import base_config
from essa.plan.job_needs import AdapterShape, Pace, job_needs, job_times
from essa.plan.shape import read_shape
from essa.spec import AdapterWarmStartSpec, AlignmentJobSpec

_ADAPTER_CONFIG = "adapter_config.json"


class Forecast(NamedTuple):
    """The estimate, and the reasons for what is missing in it."""

    dimension: int | None
    estimate: Estimate
    warnings: list[str]


def forecast(
    spec: AlignmentJobSpec,
    cache_dir: Path,
    earlier: Sequence[StoredJob],
    events: EventRepository,
) -> Forecast:
    """Estimate dimension, memory and time of a job.

    Args:
        spec: the job.
        cache_dir: folder of prepared models, searched for the base's configuration.
        earlier: finished jobs, newest first; times are based on the first similar one.
        events: the events of these jobs.
    """
    warnings: list[str] = []
    estimate = _timed(spec, earlier, events)
    config = base_config(spec.model.path, cache_dir)
    adapter = _adapter(spec)
    if config is None:
        warnings.append(
            f"model.path is {spec.model.path!r}, whose config.json is not on this machine yet: "
            "dimension and memory are not known"
        )
    if config is None or adapter is None:
        return Forecast(None, estimate, warnings)
    try:
        needs = job_needs(spec, read_shape(config), adapter)
    except EssaError as error:
        return Forecast(None, estimate, [*warnings, error.message])
    memory, trainer = (
        {name: int(size) for name, size in parts.items()}
        for parts in (needs.memory, needs.trainer_memory)
    )
    if trainer:
        warnings.append(
            "beside the engines, a process that trains needs the memory of the base, adapter, "
            f"optimiser and logits, {sum(trainer.values()) / 1e9:.2f} GB; its activations are not "
            "reckoned: lower method.micro_batch where they do not fit"
        )
    known = {
        "memory": memory,
        "memory_bytes": sum(memory.values()),
        "trainer_memory": trainer,
    }
    return Forecast(needs.dimension, estimate.model_copy(update=known), warnings)


def _adapter(spec: AlignmentJobSpec) -> AdapterShape | None:
    if not isinstance(spec.warm_start, AdapterWarmStartSpec):
        lora = spec.warm_start.lora
        return AdapterShape(lora.rank, lora.target_modules)
    try:
        config = json.loads(
            (Path(spec.warm_start.path).expanduser() / _ADAPTER_CONFIG).read_text(encoding="utf-8")
        )
        return AdapterShape(int(config["r"]), tuple(config["target_modules"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _timed(
    spec: AlignmentJobSpec, earlier: Sequence[StoredJob], events: EventRepository
) -> Estimate:
    """Estimate completions, and seconds from the newest job with the same base and engines."""
    completions = spec.method.completions(spec)
    for job in earlier if completions else ():
        pace = _pace(job, events) if _is_like(job.spec, spec) else None
        if pace is not None:
            generation_s, total_s = job_times(spec, pace)
            return Estimate(
                sequences=completions,
                generation_s=generation_s,
                total_s=total_s,
                based_on=job.id,
            )
    return Estimate(sequences=completions)


def _is_like(earlier: AlignmentJobSpec, spec: AlignmentJobSpec) -> bool:
    if (earlier.model, earlier.engine) != (spec.model, spec.engine):
        return False
    # Training time per completion is comparable only between equal methods.
    return not spec.method.trains or earlier.method == spec.method


def _pace(job: StoredJob, events: EventRepository) -> Pace | None:
    newest = events.newest([job.id], RoundEvent).get(job.id)
    if newest is None or not finite(newest.event.tokens_per_s):
        return None
    last, made = newest.event, job.spec.method.completions(job.spec)
    return Pace(last.tokens_per_s, last.generated_tokens / made, last.train_s / made)
