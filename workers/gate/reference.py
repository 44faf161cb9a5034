"""Log-probabilities from plain transformers, the reference for an engine's numbers.

The reference shares no code with the engines' adapters: the adapter is rebuilt as LoRA factors A
and B and added where PEFT would add it. The base is the same checkpoint that the engine loaded,
with its rounded weights and activations.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from torch import nn
from transformers import AutoModelForCausalLM

from essa.errors import EngineGateError
from essa.number_format import Activations
from essa.parametrize.adapter import LoraAdapter, LoraModule
from essa.spec.engine import Precision
from reward.machine import memory_limit
from workers.engines.transformers_loading import load_decoding_model
from workers.weights.checkpoint import weight_bytes

MEMORY_FRAC = 0.7
"""Share of the free memory that the reference may fill."""


@dataclass(frozen=True)
class Answer:
    """A prompt and the tokens an engine answered with."""

    prompt: tuple[int, ...]
    tokens: tuple[int, ...]


class ReferenceModel:
    """A base model on the CPU, with at most one adapter on it at a time.

    Args:
        folder: the checkpoint the engine runs.
        quantise_to: for the transformers engine, the precision to which bitsandbytes quantises the
            base while loading; None takes the checkpoint as it is.
        activations: number format of such an engine's activations, which their rounding depends on.
    Raises:
        EngineGateError: the checkpoint does not load.
    """

    def __init__(
        self,
        folder: Path,
        quantise_to: Precision | None = None,
        activations: Activations | None = None,
    ) -> None:
        self._model: Any = _load(folder, quantise_to, activations)

    def logprobs(
        self, adapter: LoraAdapter | None, answers: Sequence[Answer]
    ) -> list[NDArray[np.float64]]:
        """Return the natural-log probability of every answer token given the tokens before it.

        Returns:
            One float64 array per answer, shape (answer tokens,).
        """
        with self._adapted(adapter), torch.inference_mode():
            return [self._score(answer) for answer in answers]

    def close(self) -> None:
        """Free the model."""
        self._model = None
        gc.collect()

    def _score(self, answer: Answer) -> NDArray[np.float64]:
        ids = torch.tensor([[*answer.prompt, *answer.tokens]])
        logits = self._model(input_ids=ids, use_cache=False).logits[0, len(answer.prompt) - 1 : -1]
        chosen = torch.tensor(answer.tokens)[:, None]
        return logits.double().log_softmax(-1).gather(1, chosen)[:, 0].numpy()

    @contextlib.contextmanager
    def _adapted(self, adapter: LoraAdapter | None) -> Iterator[None]:
        modules = adapter.modules if adapter is not None else ()
        handles = [
            self._model.get_submodule(module.name).register_forward_hook(_adding(module))
            for module in modules
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


def memory_needed_bytes(folder: Path) -> int:
    """Return the memory that the reference needs for a checkpoint.

    16-bit weights become float32; compressed-tensors checkpoints are expanded to float32.
    """
    growth = 2
    if "quantization_config" in (folder / "config.json").read_text():
        growth = 8
    return growth * weight_bytes(folder)


def fits_memory(folder: Path) -> bool:
    """Return whether this machine, or the container, has room for the reference now."""
    return memory_needed_bytes(folder) <= MEMORY_FRAC * available_bytes()


def available_bytes() -> float:
    """Return the memory that this machine, or the container, has free now."""
    free = float(psutil.virtual_memory().available)
    limit = memory_limit()
    return free if limit is None else min(free, float(limit.free))


def _load(folder: Path, quantise_to: Precision | None, activations: Activations | None) -> Any:
    if quantise_to is not None and quantise_to in (Precision.INT8, Precision.INT4):
        return load_decoding_model(folder, quantise_to, torch.device("cpu"), activations).model
    try:
        # float32, whatever the engine computes in: the reference should be exact.
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    except (OSError, ValueError, ImportError, RuntimeError) as error:
        raise EngineGateError(
            f"transformers cannot load {folder} to check the engine against: {error}; "
            "engine.gate: false starts without the check"
        ) from error
    return model.eval()


def _adding(module: LoraModule) -> Any:
    lora_A, lora_B = torch.from_numpy(module.lora_A), torch.from_numpy(module.lora_B)

    def add(layer: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> Any:
        delta = module.scaling * ((inputs[0].float() @ lora_A.T) @ lora_B.T)
        return output + delta.to(output.dtype)

    return add
