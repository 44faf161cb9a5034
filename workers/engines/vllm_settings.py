"""The settings of one vLLM engine, and the vLLM arguments that follow from them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from essa.errors import EngineStartError
from essa.spec.engine import EngineSpec, VllmEngineSpec
from workers.engines.build import EngineBuild

EXTENSION = "workers.engines.vllm_extension.PopulationWorkerExtension"
CONFIG_KEY = "essa_population"
"""Key of our settings in vLLM's `additional_config`: {"has_core": bool, "rank": int}."""
CPU_KERNELS = "essa_cpu"
"""Name of `vllm_cpu_kernels` among the implementations of vLLM's IR operations."""
CPU_MODEL_LEN = 2048
"""Longest prompt and answer on CPU, in tokens, if engine.max_model_len is not given."""
CPU_BATCHED_TOKENS = 4096
CPU_BLOCK_TOKENS = 32
"""Tokens per KV block on CPU, the fewest that its attention accepts: short prompts share a longer
prefix, and attention was 3 % faster than with vLLM's 128 (SmolLM2, 70 tokens of context)."""
RUNNER_ENVIRONMENT = {"VLLM_USE_V2_MODEL_RUNNER": "0"}
"""Variables that select the model runner for which the population was written and tested. The CPU
build without Triton has only this runner, whose parent class is CUDA's GPUModelRunner; on CUDA,
vLLM's own default is its second runner."""
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Values that vLLM accepts for max_lora_rank."""


@dataclass(frozen=True)
class VllmSettings:
    """Settings of one vLLM engine."""

    model_path: str
    dtype: str
    """Compute format, bfloat16 or float32, also for quantised checkpoints."""
    max_population: int
    rank: int
    target_modules: tuple[str, ...]
    has_core: bool
    """Presence of a core between the bases: true for search.target `factors`."""
    max_num_seqs: int = 192
    max_model_len: int | None = None
    kv_cache_gib: float = 2.0
    gpu_memory_utilization: float = 0.9
    tensor_parallel: int = 1
    enforce_eager: bool = True
    prefix_caching: bool = True
    """Compute the prefix that a candidate's prompts share only once per candidate."""
    seed: int = 0


def vllm_settings(build: EngineBuild) -> VllmSettings:
    """Return the settings of an engine that a job describes.

    Raises:
        EngineStartError: the job describes an engine of another kind, or leaves activations open.
    """
    spec = build.spec
    if not isinstance(spec, VllmEngineSpec) or build.activations is None:
        raise EngineStartError(f"this is no build of a vllm engine: {build}")
    return VllmSettings(
        model_path=build.model_path,
        dtype=build.activations,
        max_population=build.max_population,
        rank=build.rank,
        target_modules=build.target_modules,
        has_core=build.has_core,
        max_num_seqs=spec.max_num_seqs,
        max_model_len=spec.max_model_len,
        kv_cache_gib=spec.kv_cache_gib,
        gpu_memory_utilization=spec.gpu_memory_utilization,
        tensor_parallel=spec.tensor_parallel,
        enforce_eager=spec.enforce_eager,
        seed=build.seed,
    )


def vllm_environment(spec: EngineSpec, cores: Sequence[int]) -> dict[str, str]:
    """Return the environment that vLLM reads when its process starts."""
    environment = {"VLLM_LOGGING_LEVEL": "WARNING", "VLLM_NO_USAGE_STATS": "1"}
    if spec.ranks == 1:
        environment["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    return environment | RUNNER_ENVIRONMENT


def bound_to(spec: EngineSpec, cores: Sequence[int]) -> dict[str, str]:
    """Return the variable that binds vLLM to its cores; its own choice leaves half of them idle.

    Its value is `0,1` for one rank on two cores, `0|1` for two ranks.
    """
    each = len(cores) // spec.ranks
    parts = (cores[rank * each : (rank + 1) * each] for rank in range(spec.ranks))
    return {"VLLM_CPU_OMP_THREADS_BIND": "|".join(",".join(map(str, part)) for part in parts)}


def engine_arguments(settings: VllmSettings, *, on_cpu: bool) -> dict[str, Any]:
    """Return the keyword arguments of vLLM's `EngineArgs`.

    Raises:
        EngineStartError: the adapter's rank is larger than vLLM takes.
    """
    length = settings.max_model_len or (_cpu_model_len(settings) if on_cpu else None)
    arguments: dict[str, Any] = {
        "model": settings.model_path,
        "dtype": settings.dtype,
        "seed": settings.seed,
        "max_model_len": length,
        "max_num_seqs": settings.max_num_seqs,
        "tensor_parallel_size": settings.tensor_parallel,
        "enforce_eager": settings.enforce_eager,
        # Blocks are shared among the prompts of one candidate: the key holds the adapter's name.
        # The name outlives its population, so the engine empties the cache with every new one.
        "enable_prefix_caching": settings.prefix_caching,
        "enable_lora": True,
        "max_loras": settings.max_population,
        "max_cpu_loras": settings.max_population,
        "max_lora_rank": _vllm_rank(settings.rank),
        "lora_target_modules": list(settings.target_modules),
        "worker_extension_cls": EXTENSION,
        "additional_config": {CONFIG_KEY: {"has_core": settings.has_core, "rank": settings.rank}},
        "disable_log_stats": True,
        # If True, vLLM has started the next step when a request ends: its tokens would read a
        # population that has been replaced, and their blocks keep the prefix cache from emptying.
        "async_scheduling": False,
    }
    if settings.tensor_parallel == 1:
        arguments["distributed_executor_backend"] = "uni"
    if on_cpu:
        arguments["block_size"] = CPU_BLOCK_TOKENS
        # Calls that these kernels do not support fall back to vLLM's own.
        arguments["ir_op_priority"] = {
            "rms_norm": [CPU_KERNELS],
            "fused_add_rms_norm": [CPU_KERNELS],
        }
        arguments["kv_cache_memory_bytes"] = int(settings.kv_cache_gib * 2**30)
        # vLLM 0.32 stops on a seeded request whose prefill is chunked ("CPU Generator does not
        # use offset"), so prompts are never chunked here.
        arguments["enable_chunked_prefill"] = False
        arguments["max_num_batched_tokens"] = max(CPU_BATCHED_TOKENS, length or 0)
    else:
        arguments["gpu_memory_utilization"] = settings.gpu_memory_utilization
    return arguments


def check_config(config: Any) -> None:
    """Check the configuration that vLLM made of the arguments against the population's needs.

    Args:
        config: the engine's `VllmConfig`.
    Raises:
        EngineStartError: the configuration does not meet a need.
    """
    if config.use_v2_model_runner:
        raise EngineStartError(
            "vLLM took its second model runner, which the population was not tested with; unset "
            "VLLM_USE_V2_MODEL_RUNNER, and turn off what needs it (watermarking, HiSparse)"
        )
    if config.scheduler_config.async_scheduling:
        raise EngineStartError(
            "vLLM turned asynchronous scheduling on, under which a step may read a population that "
            "has been replaced; install the vLLM of deploy/requirements"
        )
    if config.max_concurrent_batches != 1:
        raise EngineStartError(
            f"vLLM keeps {config.max_concurrent_batches} steps under way at once; a population can "
            "only be replaced between steps"
        )


def _cpu_model_len(settings: VllmSettings) -> int:
    config = json.loads((Path(settings.model_path) / "config.json").read_text())
    return min(CPU_MODEL_LEN, config.get("max_position_embeddings", CPU_MODEL_LEN))


def _vllm_rank(rank: int) -> int:
    for allowed in RANKS:
        if rank <= allowed:
            return allowed
    raise EngineStartError(f"adapter rank is {rank}; vLLM takes at most {RANKS[-1]}")
