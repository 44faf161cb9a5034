"""LoRA adapters in PEFT's format, as plain arrays.

PEFT keeps `adapter_config.json` and `adapter_model.safetensors`; the tensors are named
`base_model.model.<module>.lora_A.weight` (r, in) and `...lora_B.weight` (out, r).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from essa.errors import AdapterError
from essa.parametrize.adapter_config import check_config, module_rank, module_scaling
from essa.parametrize.tensor_file import decode_floats
from essa.storage.atomic_file import replace_folder
from essa.types import is_dict

CONFIG_FILE = "adapter_config.json"
TENSOR_FILE = "adapter_model.safetensors"
_PREFIX = "base_model.model."
_KEY = re.compile(r"^base_model\.model\.(?P<module>.+)\.lora_(?P<factor>[AB])\.weight$")
_ORDER = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True)
class LoraModule:
    """One adapted linear layer: it adds scaling * x @ A.T @ B.T to the layer's output.

    `lora_A` is (r, in) and `lora_B` is (out, r), float32. `name` is the path in the base model.
    """

    name: str
    lora_A: NDArray[np.float32]
    lora_B: NDArray[np.float32]
    scaling: float

    def __post_init__(self) -> None:
        shapes = self.lora_A.shape, self.lora_B.shape
        if self.lora_A.ndim != 2 or self.lora_B.ndim != 2 or shapes[0][0] != shapes[1][1]:
            raise AdapterError(
                f"{self.name}: lora_A has shape {shapes[0]} and lora_B {shapes[1]}; "
                "expected (r, in) and (out, r) of a linear layer"
            )
        if self.rank > min(shapes[0][1], shapes[1][0]):
            raise AdapterError(
                f"{self.name}: rank {self.rank} is larger than the layer "
                f"({shapes[0][1]} -> {shapes[1][0]}); lower lora.rank"
            )
        for factor, values in (("lora_A", self.lora_A), ("lora_B", self.lora_B)):
            bad = int(np.count_nonzero(~np.isfinite(values)))
            if bad:
                raise AdapterError(
                    f"{self.name}: {factor} has {bad} NaN or infinite values of {values.size}; "
                    "the warm start diverged: lower sft.learning_rate"
                )

    @property
    def rank(self) -> int:
        """Rank of this module."""
        return self.lora_A.shape[0]


@dataclass(frozen=True)
class LoraAdapter:
    """All adapted modules in model order, and PEFT's configuration as read from the file."""

    modules: tuple[LoraModule, ...]
    config: Mapping[str, Any]

    @property
    def lora_alpha(self) -> float:
        """PEFT's lora_alpha; a module's `scaling` already contains it."""
        return float(self.config["lora_alpha"])

    @property
    def base_model_name(self) -> str | None:
        """Base model that the adapter's configuration names; None if it names none."""
        return self.config.get("base_model_name_or_path")

    @property
    def target_modules(self) -> tuple[str, ...]:
        """Distinct last parts of the module names, in order of appearance."""
        return tuple(dict.fromkeys(module.name.rpartition(".")[2] for module in self.modules))

    def require_trained(self) -> None:
        """Refuse an adapter with an all-zero factor, which has no singular directions to search.

        Raises:
            AdapterError: a factor is all zero; the message names its module.
        """
        zero = [m.name for m in self.modules if not (m.lora_B.any() and m.lora_A.any())]
        if zero:
            raise AdapterError(
                f"zero adapter: {len(zero)} of {len(self.modules)} modules have an all-zero "
                f"factor, first {zero[0]}; the search needs an SFT warm start: set "
                "warm_start.type to sft or rejection_sampling, or give a trained adapter",
                modules=zero,
            )


def read_adapter(folder: str | Path) -> LoraAdapter:
    """Read a PEFT LoRA adapter.

    Args:
        folder: contains adapter_config.json and adapter_model.safetensors.
    Raises:
        AdapterError: a file is missing or unreadable, the adapter is not plain LoRA on linear
            layers, shapes disagree, a value is not finite, or a factor is all zero.
    """
    folder = Path(folder)
    config = _read_config(folder)
    check_config(config)
    tensors = _read_tensors(folder)
    adapter = LoraAdapter(modules=_collect_modules(tensors, config), config=config)
    adapter.require_trained()
    return adapter


def write_adapter(
    adapter: LoraAdapter, folder: str | Path, base_model_name: str | None = None
) -> None:
    """Write a PEFT adapter folder atomically, with float32 tensors.

    Args:
        adapter: the adapter to write.
        folder: created, or replaced if it already contains an adapter.
        base_model_name: replaces the configuration's base_model_name_or_path.
    Raises:
        AdapterError: the folder exists and contains something that is not an adapter.
    """
    from safetensors.numpy import save

    folder = Path(folder)
    if folder.exists() and not _is_replaceable(folder):
        raise AdapterError(
            f"{folder} exists and is not a PEFT adapter; give another folder or empty it"
        )
    config = dict(adapter.config)
    config["inference_mode"] = True
    if base_model_name is not None:
        config["base_model_name_or_path"] = base_model_name
    tensors: dict[str, NDArray[np.float32]] = {}
    for module in adapter.modules:
        tensors[f"{_PREFIX}{module.name}.lora_A.weight"] = _contiguous(module.lora_A)
        tensors[f"{_PREFIX}{module.name}.lora_B.weight"] = _contiguous(module.lora_B)
    text = json.dumps(config, indent=2, sort_keys=True) + "\n"
    replace_folder(
        folder,
        {CONFIG_FILE: text.encode(), TENSOR_FILE: save(tensors, metadata={"format": "pt"})},
    )


def _contiguous(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.ascontiguousarray(values, dtype=np.float32)


def _is_replaceable(folder: Path) -> bool:
    return folder.is_dir() and ((folder / CONFIG_FILE).is_file() or not any(folder.iterdir()))


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise AdapterError(f"{folder} has no {CONFIG_FILE}; set warm_start.path to a PEFT adapter")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise AdapterError(f"{path} is not JSON: {error}") from error
    if not is_dict(config):
        raise AdapterError(f"{path} holds a {type(config).__name__}, expected a JSON object")
    return config


def _read_tensors(folder: Path) -> dict[str, NDArray[np.float32]]:
    path = folder / TENSOR_FILE
    if not path.is_file():
        hint = ""
        if (folder / "adapter_model.bin").exists():
            hint = "; it has adapter_model.bin: save it again with safe_serialization=True"
        raise AdapterError(f"{folder} has no {TENSOR_FILE}{hint}")
    try:
        return decode_floats(path.read_bytes())
    except ValueError as error:
        raise AdapterError(f"{path} is unreadable: {error}") from error


def _collect_modules(
    tensors: Mapping[str, NDArray[np.float32]], config: Mapping[str, Any]
) -> tuple[LoraModule, ...]:
    factors: dict[str, dict[str, NDArray[np.float32]]] = {}
    for key, values in tensors.items():
        match = _KEY.match(key)
        if match is None:
            raise AdapterError(
                f"tensor {key} is not a LoRA factor of a linear layer; embeddings, biases, DoRA "
                "and fully trained modules cannot be searched"
            )
        factors.setdefault(match["module"], {})[match["factor"]] = values
    if not factors:
        raise AdapterError(f"{TENSOR_FILE} has no LoRA factors")
    modules: list[LoraModule] = []
    for name in sorted(factors, key=_model_order):
        if set(factors[name]) != {"A", "B"}:
            raise AdapterError(f"{name} has only lora_{''.join(factors[name])}; expected both")
        scaling = module_scaling(config, name)
        module = LoraModule(name, factors[name]["A"], factors[name]["B"], scaling)
        expected = module_rank(config, name)
        if module.rank != expected:
            raise AdapterError(
                f"{name}: tensors have rank {module.rank}, {CONFIG_FILE} says {expected}"
            )
        modules.append(module)
    return tuple(modules)


def _model_order(name: str) -> tuple[tuple[int, ...], int, str]:
    numbers = tuple(int(part) for part in name.split(".") if part.isdigit())
    last = name.rpartition(".")[2]
    return numbers, _ORDER.index(last) if last in _ORDER else len(_ORDER), name
