"""Random adapters on the attention of SmolLM2-135M."""

from __future__ import annotations

import numpy as np

from essa.parametrize.adapter import LoraAdapter, LoraModule

MODULES = {"q_proj": (576, 576), "k_proj": (576, 192), "v_proj": (576, 192), "o_proj": (576, 576)}
"""(in, out) of the adapted layers."""
LAYERS = 30
SCALING = 2.0


def smollm2_adapter(*, rank: int, seed: int, strength: float) -> LoraAdapter:
    """An adapter on every layer; `strength` is the size of its B."""
    rng = np.random.default_rng(seed)
    modules = tuple(
        LoraModule(
            name=f"model.layers.{layer}.self_attn.{name}",
            lora_A=(rng.normal(size=(rank, wide_in)) / np.sqrt(wide_in)).astype(np.float32),
            lora_B=(strength * rng.normal(size=(wide_out, rank))).astype(np.float32),
            scaling=SCALING,
        )
        for layer in range(LAYERS)
        for name, (wide_in, wide_out) in MODULES.items()
    )
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": "smollm2",
        "r": rank,
        "lora_alpha": SCALING * rank,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": list(MODULES),
        "inference_mode": True,
    }
    return LoraAdapter(modules=modules, config=config)
