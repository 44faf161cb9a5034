"""Read a quantised checkpoint back into plain weights, to compare numbers with another engine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workers.quantization.schemes import scheme_of
from workers.weights.checkpoint import copy_side_files, weight_files

if TYPE_CHECKING:
    import torch


def dequantized_state_dict(folder: Path, dtype: torch.dtype | None = None) -> dict[str, Any]:
    """Read a folder written by `quantize_folder` back into plain weights.

    Args:
        folder: the quantised checkpoint.
        dtype: format of the rebuilt weights; float32 by default, which adds no second rounding.
    Returns:
        State dict of the Hugging Face model, with the rounding of the weights in it.
    """
    import torch
    from compressed_tensors.compressors.base import BaseCompressor
    from compressed_tensors.quantization import QuantizationConfig
    from safetensors.torch import load_file

    config = json.loads((folder / "config.json").read_text())
    quantization = QuantizationConfig.model_validate(config["quantization_config"])
    state: dict[str, Any] = {}
    for file in weight_files(folder):
        tensors = load_file(file)
        for module, parts in _grouped_by_module(tensors):
            if "weight_scale" in parts:
                scheme = scheme_of(quantization, module)
                assert scheme.format is not None  # `config_entry` writes it
                compressor: Any = BaseCompressor.get_value_from_registry(scheme.format)
                parts["weight_scale"] = parts["weight_scale"].float()
                rebuilt = compressor.decompress(parts, scheme)["weight"]
                state[f"{module}.weight"] = rebuilt.to(dtype or torch.float32)
                parts = {name: value for name, value in parts.items() if name == "bias"}
            state.update({f"{module}.{name}": value for name, value in parts.items()})
    return state


def save_dequantized(folder: Path, target: Path) -> None:
    """Write the bf16 model whose weights carry the rounding of the quantised `folder`.

    `target` loads in any library, so that the numbers of a quantised base can be compared there.
    """
    import torch
    from safetensors.torch import save_file

    copy_side_files(folder, target)
    config = json.loads((folder / "config.json").read_text())
    del config["quantization_config"]
    (target / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    state = dequantized_state_dict(folder, torch.bfloat16)
    contiguous = {name: tensor.contiguous() for name, tensor in state.items()}
    save_file(contiguous, target / "model.safetensors", metadata={"format": "pt"})


def _grouped_by_module(
    tensors: dict[str, torch.Tensor],
) -> Iterator[tuple[str, dict[str, torch.Tensor]]]:
    modules: dict[str, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        module, _, part = name.rpartition(".")
        modules.setdefault(module, {})[part] = tensor
    yield from modules.items()
