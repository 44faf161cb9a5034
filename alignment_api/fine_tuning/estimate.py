"""What a job will need, as far as it can be told without loading a model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy.engine import RowMapping

from alignment_api.base_config import base_config
from alignment_api.fine_tuning.schemas import Estimate
from alignment_api.finite import finite
from alignment_api.jobs.events import EventRepository
from alignment_api.jobs.repository import stored_spec
from essa.errors import EssaError
from essa.parametrize.dimension import search_dimension
from essa.plan.memory import essa_memory
from essa.plan.shape import read_shape
from essa.spec import AdapterWarmStart, AlignmentJobSpec

PROMPT_TOKENS = 128
"""Assumed of a prompt; most of a sequence's memory is its answer."""

_ADAPTER_CONFIG = "adapter_config.json"


class AdapterShape(NamedTuple):
    """Rank and modules of the adapter that is searched."""

    rank: int
    modules: tuple[str, ...]


class Forecast(NamedTuple):
    """What could be told, and why the rest could not."""

    dimension: int | None
    estimate: Estimate
    warnings: list[str]


def forecast(
    spec: AlignmentJobSpec,
    cache_dir: Path,
    earlier: Sequence[RowMapping],
    events: EventRepository,
) -> Forecast:
    """Dimension, memory and time of a job.

    Args:
        spec: the job.
        cache_dir: prepared models, looked through for the base's configuration.
        earlier: rows of finished jobs, newest first; the speed of a like one is taken.
        events: of these jobs.
    """
    warnings: list[str] = []
    search, rollout = spec.search, spec.rollout
    sequences = search.population * spec.batch_size * rollout.samples_per_prompt
    estimate = Estimate(sequences=sequences, **_times(spec, sequences, earlier, events))
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
        dimension = search_dimension(
            config,
            rank=adapter.rank,
            alpha=search.alpha,
            target=search.target,
            target_modules=adapter.modules,
        )
        memory = _memory(spec, config, adapter, dimension, sequences)
    except EssaError as error:
        return Forecast(None, estimate, [*warnings, error.message])
    known = {"memory": memory, "memory_bytes": sum(memory.values())}
    return Forecast(dimension, estimate.model_copy(update=known), warnings)


def _memory(
    spec: AlignmentJobSpec,
    config: dict[str, Any],
    adapter: AdapterShape,
    dimension: int,
    sequences: int,
) -> dict[str, int]:
    """Bytes of one engine by what they are for."""
    together = min(sequences, _together(spec))
    parts = essa_memory(
        read_shape(config),
        precision=spec.engine.precision,
        rank=adapter.rank,
        modules=adapter.modules,
        dimension=dimension,
        population=spec.search.population,
        cached_tokens=together * (PROMPT_TOKENS + spec.rollout.max_tokens),
    )
    return {name: int(value) for name, value in parts.items()}


def _adapter(spec: AlignmentJobSpec) -> AdapterShape | None:
    if not isinstance(spec.warm_start, AdapterWarmStart):
        lora = spec.warm_start.lora
        return AdapterShape(lora.rank, lora.target_modules)
    try:
        config = json.loads(
            (Path(spec.warm_start.path).expanduser() / _ADAPTER_CONFIG).read_text(encoding="utf-8")
        )
        return AdapterShape(int(config["r"]), tuple(config["target_modules"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _together(spec: AlignmentJobSpec) -> int:
    """Sequences that one engine decodes together."""
    return getattr(spec.engine, "max_num_seqs", None) or spec.engine.max_batch


def _times(
    spec: AlignmentJobSpec,
    sequences: int,
    earlier: Sequence[RowMapping],
    events: EventRepository,
) -> dict[str, Any]:
    """Seconds by the speed of the newest job with the same base and engines; empty if none."""
    for row in earlier:
        other = stored_spec(row)
        if (other.model, other.engine) != (spec.model, spec.engine):
            continue
        last = events.newest([row["id"]], ["generation"]).get((row["id"], "generation"))
        speed = finite(last.data.get("tokens_per_s")) if last else None
        if last is None or not speed:
            continue
        made = other.search.population * other.batch_size * other.rollout.samples_per_prompt
        tokens = min(last.data["generated_tokens"] / made, spec.rollout.max_tokens)
        generation_s = sequences * tokens / speed
        total_s = generation_s * spec.budget.generations
        if spec.budget.wall_s is not None:
            total_s = min(total_s, spec.budget.wall_s)
        return {"generation_s": generation_s, "total_s": total_s, "based_on": row["id"]}
    return {}
