"""What a job will need, as far as it can be told without loading a model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_args

from alignment_api.jobs.answers import Estimate
from alignment_api.jobs.events import EventRepository
from alignment_api.store.stored_job import StoredJob
from essa.errors import EssaError
from essa.events import RoundEvent, finite
from essa.parametrize.dimension import search_dimension
from essa.plan.base_config import base_config
from essa.plan.memory import essa_memory
from essa.plan.shape import read_shape
from essa.spec import AdapterWarmStartSpec, AlignmentJobSpec, Precision
from essa.spec.best_of_n import BestOfNSpec
from essa.spec.engine import AUTO
from essa.spec.grpo import GrpoSpec, OptimizerName

PROMPT_TOKENS = 128
"""Assumed of a prompt; most of a sequence's memory is its answer."""

_TRAINED_ON = {
    "auto": Precision.BF16,
    "fp32": Precision.FP32,
    "bf16": Precision.BF16,
    "int8": Precision.INT8,
    "nf4": Precision.INT4,
}
_STATE_BYTES = dict.fromkeys(get_args(OptimizerName), 8.0) | {
    "adamw_8bit": 2.0,
    "paged_adamw_8bit": 2.0,
    "lion": 4.0,
    "lion_8bit": 1.0,
    "sgd": 0.0,
}
"""Of an optimiser's state, per number that is trained; APOLLO's is at most this."""

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
    earlier: Sequence[StoredJob],
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
    sequences = _sequences(spec)
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
        dimension = _dimension(spec, config, adapter)
        memory = _memory(spec, config, adapter, dimension, sequences)
        trainer = _trainer_memory(spec, config, adapter)
    except EssaError as error:
        return Forecast(None, estimate, [*warnings, error.message])
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
    return Forecast(dimension, estimate.model_copy(update=known), warnings)


def _sequences(spec: AlignmentJobSpec) -> int:
    """Completions of one generation; 0 where there is none."""
    if isinstance(spec.method, BestOfNSpec):
        return 0
    if isinstance(spec.method, GrpoSpec):
        return spec.batch_size * spec.method.group_size
    return spec.search.population * spec.batch_size * spec.rollout.samples_per_prompt


def _dimension(spec: AlignmentJobSpec, config: dict[str, Any], adapter: AdapterShape) -> int:
    """Numbers that are searched or trained."""
    alpha, target = spec.search.alpha, spec.search.target
    if isinstance(spec.method, GrpoSpec):
        # Gradients on singular values take all of both factors.
        alpha, target = 1.0, "weights" if spec.method.parameters == "lora" else "factors"
    if target == "weights":
        return read_shape(config).lora_parameters(adapter.rank, adapter.modules)
    return search_dimension(
        config, rank=adapter.rank, alpha=alpha, target=target, target_modules=adapter.modules
    )


def _memory(
    spec: AlignmentJobSpec,
    config: dict[str, Any],
    adapter: AdapterShape,
    dimension: int,
    sequences: int,
) -> dict[str, int]:
    """Bytes of one engine by what they are for."""
    together = min(sequences or spec.engine.capacity, spec.engine.capacity)
    parts = essa_memory(
        read_shape(config),
        # What `auto` takes is known when the job starts; it is at most this.
        precision=Precision.BF16 if spec.engine.precision == AUTO else spec.engine.precision,
        rank=adapter.rank,
        modules=adapter.modules,
        dimension=dimension,
        population=spec.search.population,
        cached_tokens=together * (PROMPT_TOKENS + spec.rollout.max_tokens),
    )
    if spec.moves_weights:
        # These engines hold one adapter at a time.
        parts["population"] = 0.0
    return {name: int(value) for name, value in parts.items()}


def _trainer_memory(
    spec: AlignmentJobSpec, config: dict[str, Any], adapter: AdapterShape
) -> dict[str, int]:
    """Bytes of the process that trains, without activations; empty for a search."""
    method = spec.method
    if not isinstance(method, GrpoSpec):
        return {}
    shape = read_shape(config)
    weights = shape.lora_parameters(adapter.rank, adapter.modules)
    trained = _dimension(spec, config, adapter)
    together = min(method.micro_batch, method.mini_batch or _sequences(spec))
    # A reference for the KL divergence is one more adapter.
    copies = 2 if method.kl_coefficient else 1
    parts = {
        "base": shape.weight_bytes(_TRAINED_ON[method.precision]),
        "adapter": 4.0 * weights * copies,
        "gradient": 4.0 * trained,
        "optimizer": _STATE_BYTES[method.optimizer] * trained,
        # The logits of all answer tokens, and their gradient.
        "logits": 2 * 4.0 * together * spec.rollout.max_tokens * shape.vocabulary,
    }
    return {name: int(value) for name, value in parts.items()}


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


def _times(
    spec: AlignmentJobSpec,
    sequences: int,
    earlier: Sequence[StoredJob],
    events: EventRepository,
) -> dict[str, Any]:
    """Seconds by the speed of the newest job with the same base and engines; empty if none."""
    if not sequences:
        return {}
    for job in earlier:
        other = job.spec
        if (other.model, other.engine) != (spec.model, spec.engine):
            continue
        if isinstance(spec.method, GrpoSpec) and other.method != spec.method:
            continue
        newest = events.newest([job.id], RoundEvent).get(job.id)
        if newest is None or not finite(newest.event.tokens_per_s):
            continue
        last, made = newest.event, _sequences(other)
        tokens = min(last.generated_tokens / made, spec.rollout.max_tokens)
        # Passes of a like training take time by the completion.
        train_s = last.train_s * sequences / made
        generation_s = sequences * tokens / last.tokens_per_s + train_s
        total_s = generation_s * spec.budget.generations
        if spec.budget.wall_s is not None:
            total_s = min(total_s, spec.budget.wall_s)
        return {"generation_s": generation_s, "total_s": total_s, "based_on": job.id}
    return {}
