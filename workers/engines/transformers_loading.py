"""Loading a base model into transformers at a given precision."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

from essa.errors import EngineStartError
from essa.number_format import Activations
from essa.spec.engine import Precision
from workers.engines.batch_decoding import DecodingModel
from workers.machine.native_format import native_activations


def pick_device(name: str) -> torch.device:
    """Resolve `auto` to the first GPU if there is one, else to the CPU."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise EngineStartError(f"device {name} was asked for, but torch sees no GPU")
    return torch.device(name)


def load_decoding_model(
    path: str | Path,
    precision: Precision,
    device: torch.device,
    activations: Activations | None = None,
) -> DecodingModel:
    """Load a base model and its tokenizer.

    Args:
        precision: fp32, bf16, int8 (vector-wise W8A8 of LLM.int8, arXiv:2208.07339, Section 3.1)
            or int4 (nf4, arXiv:2305.14314).
        activations: number format of the values between layers; None takes the fast one here. With
            float32 activations, bf16 weights are rounded to bf16 and then widened.
    Raises:
        EngineStartError: the folder is not a causal language model, or already quantised.
    """
    try:
        config = AutoConfig.from_pretrained(path)
        _refuse_quantised(path, config)
        activations = activations or native_activations(precision, device.type)
        model = AutoModelForCausalLM.from_pretrained(
            path, config=config, **precision_arguments(precision, device, activations)
        )
        if precision is Precision.BF16 and activations == "float32":
            model = model.float()
        tokenizer = AutoTokenizer.from_pretrained(path)
    except (OSError, ValueError, ImportError, RuntimeError) as error:
        raise EngineStartError(
            f"transformers could not load {path} as {precision}: {error}"
        ) from error
    return DecodingModel(
        model=model.eval().requires_grad_(False),
        tokenizer=tokenizer,
        end_ids=_end_ids(model, tokenizer),
        context_limit=int(getattr(config.get_text_config(), "max_position_embeddings", 2**31)),
    )


def _refuse_quantised(path: str | Path, config: Any) -> None:
    if getattr(config, "quantization_config", None) is not None:
        raise EngineStartError(
            f"{path} is quantised already; the transformers engine quantises the weights itself: "
            "set model.path to the unquantised model"
        )


def precision_arguments(
    precision: Precision, device: torch.device, activations: Activations
) -> dict[str, Any]:
    """Return the arguments of `from_pretrained` that load unquantised weights in a precision.

    A bf16 model is loaded in bf16; `.float()` gives it float32 activations.
    """
    compute = torch.bfloat16 if precision is Precision.BF16 else getattr(torch, activations)
    arguments: dict[str, Any] = {
        "dtype": compute,
        "device_map": {"": str(device)},
    }
    if precision is Precision.INT8:
        # LLM.int8 picks its outlier columns over the whole batch, so one candidate's answer would
        # depend on the others (measured on SmolLM2: log-probabilities moved by 0.11 on average).
        # Threshold 0 scales every token by itself, as the vLLM engine's W8A8 does.
        arguments["quantization_config"] = BitsAndBytesConfig(
            load_in_8bit=True, llm_int8_threshold=0.0
        )
        # bitsandbytes warns of the cast to float16 in every layer of every forward pass.
        logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
    elif precision is Precision.INT4:
        arguments["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_compute_dtype=compute,
        )
    return arguments


def _end_ids(model: Any, tokenizer: Any) -> frozenset[int]:
    configured = model.generation_config.eos_token_id
    ids = set(configured if isinstance(configured, list | tuple) else [configured])
    ids.add(tokenizer.eos_token_id)
    return frozenset(token for token in ids if token is not None)
