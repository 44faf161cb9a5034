"""What vLLM imports in each worker process, by name, before it builds the model there."""

from __future__ import annotations

from workers.engines.vllm_population import PopulationWorkerExtension, install_patches

__all__ = ["PopulationWorkerExtension"]

install_patches()
