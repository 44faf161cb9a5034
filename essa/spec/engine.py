"""How completions are produced."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from essa.spec.base import SpecModel


class Precision(StrEnum):
    """Number format of the base weights."""

    BF16 = "bf16"
    INT8 = "int8"
    INT4 = "int4"
    FP32 = "fp32"


class _EngineModel(SpecModel):
    precision: Precision = Precision.BF16
    workers: int = Field(default=1, ge=1)
    """Engines, one Ray actor each."""
    cores_per_worker: int | None = Field(default=None, ge=1)
    """CPU cores per engine; None divides the machine's cores. Ignored on GPUs."""
    item_timeout_s: float = Field(default=300.0, gt=0)
    """A work item that takes longer is given up and tried again on another engine."""
    max_retries: int = Field(default=2, ge=0)
    """Tries after the first before a work item's scores are missing."""
    max_restarts: int = Field(default=2, ge=0)
    """How often one engine is started again before the job fails."""


class VllmEngineSpec(_EngineModel):
    """vLLM with the whole population in one continuous batch."""

    kind: Literal["vllm"] = "vllm"
    tensor_parallel: int = Field(default=1, ge=1)
    """GPUs per engine."""
    max_num_seqs: int = Field(default=192, ge=1)
    """Sequences decoded together by one engine."""
    max_model_len: int | None = Field(default=None, ge=16)
    """Longest prompt and answer; None takes the model's own limit, at most 2,048 on CPU."""
    kv_cache_gib: float = Field(default=2.0, gt=0)
    """KV cache per engine on CPU."""
    gpu_memory_utilization: float = Field(default=0.9, gt=0, le=1)
    enforce_eager: bool = True
    """False turns torch.compile and CUDA graphs on."""


class TransformersEngineSpec(_EngineModel):
    """Hugging Face generate with a batched population forward: the numeric reference.

    int8 and int4 (nf4) load through bitsandbytes.
    """

    kind: Literal["transformers"] = "transformers"
    max_batch: int = Field(default=64, ge=1)
    """Sequences decoded together."""


EngineSpec = Annotated[VllmEngineSpec | TransformersEngineSpec, Field(discriminator="kind")]


class RolloutSpec(SpecModel):
    """Decoding of the search's completions."""

    max_tokens: int = Field(default=128, ge=1)
    temperature: float = Field(default=0.0, ge=0)
    """0 is greedy decoding."""
    samples_per_prompt: int = Field(default=1, ge=1)
    stop: tuple[str, ...] = ()
    """The answer ends before the first of these strings."""
