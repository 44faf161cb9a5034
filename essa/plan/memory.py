"""Memory of one worker that evaluates candidates, and of one that trains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from essa.plan.shape import ModelShape

OPTIMISER_BYTES = {"adamw": 8.0, "adamw_8bit": 2.0, "lion": 4.0, "sgd": 0.0}
"""Of a trained parameter, beside its weight and gradient."""
ACTIVATIONS_PER_LAYER = 34
"""Bytes kept for the backward pass, of a token and a hidden unit, in 16 bits without attention
scores, which fused kernels do not keep (Korthikanti et al. 2022, arXiv:2205.05198, equation 2)."""


@dataclass(frozen=True)
class Memory:
    """Bytes of one worker, by what they are for."""

    parts: dict[str, float]

    @property
    def total_bytes(self) -> float:
        """All of it."""
        return sum(self.parts.values())


def essa_memory(
    shape: ModelShape,
    *,
    precision: str,
    rank: int,
    modules: Sequence[str],
    dimension: int,
    population: int,
    sequences: int,
    tokens: int,
) -> Memory:
    """Of an engine with a population.

    Args:
        dimension: D, numbers of a candidate.
        sequences: decoded together.
        tokens: of one sequence, prompt and answer.
    """
    return Memory(
        {
            "base": shape.weight_bytes(precision),
            # The bases of the factors in 16 bits, once for the whole population.
            "adapter": 2.0 * shape.lora_parameters(rank, modules),
            "population": 4.0 * dimension * (population + 1),
            "kv_cache": shape.kv_bytes(sequences * tokens),
        }
    )


def grpo_memory(
    shape: ModelShape,
    *,
    precision: str,
    rank: int,
    modules: Sequence[str],
    optimiser: str,
    micro_batch: int,
    sequences: int,
    tokens: int,
    is_checkpointing: bool = True,
) -> Memory:
    """Of a worker that samples and trains LoRA on one and the same base.

    Args:
        optimiser: a name of `OPTIMISER_BYTES`.
        micro_batch: samples in one backward pass.
        sequences: decoded together while sampling.
        tokens: of one sequence, prompt and answer.
        is_checkpointing: keep one activation a layer and compute the rest again.
    """
    trained = shape.lora_parameters(rank, modules)
    width = micro_batch * tokens
    kept = 2.0 if is_checkpointing else float(ACTIVATIONS_PER_LAYER)
    layers = shape.layers * kept * width * shape.hidden
    # Logits and their gradient in 32 bits, and the one layer that is computed again.
    head = 2 * 4.0 * width * shape.vocabulary
    again = ACTIVATIONS_PER_LAYER * width * shape.hidden if is_checkpointing else 0.0
    return Memory(
        {
            "base": shape.weight_bytes(precision),
            "adapter": 4.0 * trained,
            "gradients": 4.0 * trained,
            "optimiser": OPTIMISER_BYTES[optimiser] * trained,
            "activations": layers + head + again,
            "kv_cache": shape.kv_bytes(sequences * tokens),
        }
    )
