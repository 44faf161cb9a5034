"""Memory of ESSA's engines, of GRPO's workers and of trainers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from essa.plan.shape import ModelShape
from essa.spec.engine import Precision
from essa.spec.grpo import OptimizerName
from essa.spec.method_base import Training

Parts = dict[str, float]
"""Bytes by purpose."""

OPTIMISER_BYTES = dict.fromkeys(get_args(OptimizerName), 8.0) | {
    "adamw_8bit": 2.0,
    "paged_adamw_8bit": 2.0,
    "lion": 4.0,
    "lion_8bit": 1.0,
    "sgd": 0.0,
}
"""Bytes of optimiser state per trained value; an upper bound for APOLLO."""
ACTIVATION_BYTES = 34
"""Bytes kept for the backward pass per layer, token and hidden unit, in 16 bits and without the
attention scores, which fused kernels do not keep (Korthikanti et al. 2022, arXiv:2205.05198,
equation 2)."""


def essa_memory(
    shape: ModelShape,
    *,
    precision: Precision,
    rank: int,
    modules: Sequence[str],
    dimension: int,
    population: int,
    cached_tokens: float,
) -> Parts:
    """Return the memory of an engine with a population.

    Args:
        dimension: numbers of a candidate, D.
        population: number of candidates, N; their table has one more row, for tokens without an
            adapter.
        cached_tokens: tokens of all sequences together, whose keys and values the engine holds.
    """
    return {
        "base": shape.weight_bytes(precision),
        # The bases of the factors in 16 bits, once for the whole population.
        "adapter": 2.0 * shape.lora_parameters(rank, modules),
        "population": 4.0 * dimension * (population + 1),
        "kv_cache": shape.cache_bytes(cached_tokens),
    }


def grpo_memory(
    shape: ModelShape,
    *,
    precision: Precision,
    rank: int,
    modules: Sequence[str],
    optimiser: str,
    micro_batch: int,
    sequence_tokens: int,
    cached_tokens: float,
    is_checkpointing: bool = True,
) -> Parts:
    """Return the memory of a worker that samples and trains LoRA on the same base.

    Args:
        optimiser: a name of `OPTIMISER_BYTES`.
        micro_batch: number of samples in one backward pass.
        sequence_tokens: tokens of one sample, prompt and answer.
        cached_tokens: tokens whose keys and values the worker's rollout engine holds.
        is_checkpointing: gradient checkpointing: keep only the inputs of layers and recompute the
            rest.
    """
    trained = shape.lora_parameters(rank, modules)
    tokens = micro_batch * sequence_tokens
    one_layer = float(ACTIVATION_BYTES * tokens * shape.hidden)
    layers = shape.layers * (2.0 * tokens * shape.hidden if is_checkpointing else one_layer)
    again = one_layer if is_checkpointing else 0.0
    return {
        "base": shape.weight_bytes(precision),
        "adapter": 4.0 * trained,
        "gradients": 4.0 * trained,
        "optimiser": OPTIMISER_BYTES[optimiser] * trained,
        "activations": layers + again + _logit_bytes(shape, tokens),
        "kv_cache": shape.cache_bytes(cached_tokens),
    }


def trainer_memory(
    shape: ModelShape, training: Training, *, weights: int, trained: int, answer_tokens: int
) -> Parts:
    """Return the memory of a process that only trains, without activations of decoder layers.

    Args:
        weights: number of the adapter's weights.
        trained: number of trained values.
        answer_tokens: tokens of the longest answer.
    """
    return {
        "base": shape.weight_bytes(training.precision),
        "adapter": 4.0 * weights * training.adapters,
        "gradient": 4.0 * trained,
        "optimizer": OPTIMISER_BYTES[training.optimizer] * trained,
        "logits": _logit_bytes(shape, training.completions * answer_tokens),
    }


def gpus_for(fixed_bytes: float, gpu_bytes: float) -> int:
    """Return the smallest power of two of GPUs that together hold the given bytes.

    Args:
        fixed_bytes: bytes to hold.
        gpu_bytes: usable memory of one GPU.
    """
    gpus = 1
    while gpus * gpu_bytes < fixed_bytes:
        gpus *= 2
    return gpus


def _logit_bytes(shape: ModelShape, tokens: int) -> float:
    """Return the bytes of the tokens' logits and of their gradient, in 32 bits."""
    return 2 * 4.0 * tokens * shape.vocabulary
