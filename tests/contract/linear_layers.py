"""Random adapters on every linear layer of the tiny models."""

from __future__ import annotations

import numpy as np

from essa.parametrize.adapter import LoraAdapter, LoraModule
from essa.parametrize.basis import AdapterBasis
from essa.parametrize.codec import SingularValueCodec

LINEAR_LAYERS = {
    "self_attn.q_proj": (128, 128),
    "self_attn.k_proj": (128, 64),
    "self_attn.v_proj": (128, 64),
    "self_attn.o_proj": (128, 128),
    "mlp.gate_proj": (128, 256),
    "mlp.up_proj": (128, 256),
    "mlp.down_proj": (256, 128),
}
"""(in, out) of each: both merged projections, qkv and gate_up, and both row-parallel ones."""
TARGETS = tuple(name.rpartition(".")[2] for name in LINEAR_LAYERS)


def linear_codec(*, rank: int, seed: int, strength: float, scaling: float) -> SingularValueCodec:
    """Factors of a random adapter; `strength` is the size of its B."""
    rng = np.random.default_rng(seed)
    modules = tuple(
        LoraModule(
            f"model.layers.{layer}.{name}",
            (rng.normal(size=(rank, wide_in)) / np.sqrt(wide_in)).astype(np.float32),
            (strength * rng.normal(size=(wide_out, rank))).astype(np.float32),
            scaling,
        )
        for layer in range(2)
        for name, (wide_in, wide_out) in LINEAR_LAYERS.items()
    )
    config = {
        "peft_type": "LORA",
        "r": rank,
        "lora_alpha": scaling * rank,
        "target_modules": list(TARGETS),
        "base_model_name_or_path": "tiny",
    }
    return SingularValueCodec(AdapterBasis.decompose(LoraAdapter(modules, config), "factors", 1.0))
