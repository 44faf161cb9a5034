"""Load the base with the warm-start adapter for training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from essa.errors import SpecError
from essa.spec.grpo import GrpoSpec
from workers.machine.native_format import native_training
from workers.warm_start.lora_model import SHORT_TOKENS


def load_trainable(
    model_folder: Path, adapter_folder: Path, method: GrpoSpec, longest_tokens: int
) -> Any:
    """Load base and adapter: the adapter in float32, the base in `method.precision`.

    Args:
        model_folder: folder of the base.
        adapter_folder: folder of the warm start.
        method: settings of the training.
        longest_tokens: maximum tokens of prompt and answer, which selects the attention kernel.
    Returns:
        A `peft.PeftModel`.
    Raises:
        SpecError: this machine cannot quantise the base.
    """
    from peft import PeftModel, prepare_model_for_kbit_training
    from transformers import AutoModelForCausalLM

    is_short = not torch.cuda.is_available() and longest_tokens <= SHORT_TOKENS
    is_quantized = method.precision in ("int8", "nf4")
    compute = _compute_dtype(method.precision)
    model = AutoModelForCausalLM.from_pretrained(
        model_folder,
        dtype=compute,
        attn_implementation="eager" if is_short else None,
        quantization_config=_quantization(method.precision, compute) if is_quantized else None,
        device_map={"": 0} if torch.cuda.is_available() else None,
    )
    if is_quantized:
        model = prepare_model_for_kbit_training(
            model, use_gradient_checkpointing=method.gradient_checkpointing
        )
    return PeftModel.from_pretrained(model, adapter_folder, is_trainable=True)


def _compute_dtype(precision: str) -> torch.dtype:
    """Return the format of products; for `auto` and quantised bases, one that is not emulated."""
    if precision in ("fp32", "bf16"):
        return torch.float32 if precision == "fp32" else torch.bfloat16
    return getattr(torch, native_training())


def _quantization(precision: str, compute: torch.dtype) -> Any:
    from transformers import BitsAndBytesConfig

    try:
        import bitsandbytes  # noqa: F401
    except ImportError as error:
        raise SpecError(
            f"method.precision is {precision}, which needs bitsandbytes; install the extra "
            "`engines`",
            field="method.precision",
        ) from error
    if precision == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=compute
    )
