"""A base model with a fresh LoRA on it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from essa.errors import AdapterError
from essa.number_format import Activations
from essa.spec.model import LoraSpec

if TYPE_CHECKING:
    import torch


SHORT_TOKENS = 256
"""Length up to which plain attention trains faster on a CPU than torch's fused kernel (1.4 against
1.7 s a step for SmolLM2, 8 pairs of 78 tokens, one core); beyond, it needs too much memory."""


def load_lora_model(
    folder: Path, lora: LoraSpec, device: torch.device, longest_tokens: int, training: Activations
) -> Any:
    """Load the base in the precision it is stored in and put an untrained LoRA on it.

    Args:
        folder: the base in Hugging Face format.
        lora: shape of the adapter.
        device: device to train on.
        longest_tokens: length of the longest pair, which decides how attention is computed.
        training: number format of gradients. `float32` widens the base, for CPUs that emulate
            shorter formats: gradients of inputs were 35 times slower in bfloat16 (AVX2, measured).

    Returns:
        A `peft.PeftModel` on `device`, adapter weights in float32.
    Raises:
        AdapterError: the base is quantised, or the adapter does not fit its layers.
    """
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    if "quantization_config" in json.loads((folder / "config.json").read_text()):
        raise AdapterError(
            f"the base in {folder} is quantised and cannot be trained on; train the warm start on "
            "the unquantised model and run it on the quantised one"
        )
    is_short = device.type == "cpu" and longest_tokens <= SHORT_TOKENS
    loaded: Any = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype="auto" if training == "bfloat16" else torch.float32,
        attn_implementation="eager" if is_short else None,
    )
    model = loaded.to(device)
    check_targets(model, lora)
    config = LoraConfig(
        r=lora.rank,
        # peft only divides it by the rank, so it need not be a whole number.
        lora_alpha=lora.lora_alpha,  # pyright: ignore[reportArgumentType]
        target_modules=list(lora.target_modules),
        lora_dropout=0.0,
        bias="none",
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, config, autocast_adapter_dtype=True)


def check_targets(model: Any, lora: LoraSpec) -> None:
    """Check that every target module is a linear layer large enough for the rank.

    Raises:
        AdapterError: a name matches no linear layer, or the rank exceeds a layer's smaller side.
    """
    import torch

    head = model.get_output_embeddings()
    layers = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and module is not head
    }
    for target in lora.target_modules:
        matches = {n: m for n, m in layers.items() if n == target or n.endswith(f".{target}")}
        if not matches:
            candidates = sorted({name.rpartition(".")[2] for name in layers})
            raise AdapterError(
                f"warm_start.lora.target_modules names '{target}', which is no linear layer of "
                f"this model; it has {', '.join(candidates)}",
                field="warm_start.lora.target_modules",
            )
        for name, module in matches.items():
            smaller = min(module.in_features, module.out_features)
            if lora.rank > smaller:
                raise AdapterError(
                    f"warm_start.lora.rank is {lora.rank}, but {name} has a side of {smaller}; "
                    f"set the rank to at most {smaller}",
                    field="warm_start.lora.rank",
                )
