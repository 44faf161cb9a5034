"""A base whose weights are rounded to bfloat16, for engines that compute in float32.

vLLM has one format for weights and activations. Loaded in float32, a base that is stored with more
precision than bfloat16 would run with all of it, which is not what engine.precision bf16 means.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from workers.weights.checkpoint import INDEX_FILE, copy_side_files, weight_files

_WIDER = ("F32", "F64", "F16")
"""Formats of safetensors with numbers that bfloat16 cannot hold."""


def needs_rounding(folder: Path) -> bool:
    """Return whether a weight of the model is stored with more precision than bfloat16."""
    from safetensors import safe_open

    for file in weight_files(folder):
        with safe_open(file, framework="pt") as source:
            if any(source.get_slice(name).get_dtype() in _WIDER for name in source.keys()):  # noqa: SIM118
                return True
    return False


def round_folder(source: Path, target: Path, progress: Callable[[str], None]) -> None:
    """Write the model of `source` in bfloat16 into the empty folder `target`, file by file."""
    import torch
    from safetensors.torch import load_file, save_file

    copy_side_files(source, target)
    if (source / INDEX_FILE).is_file():
        shutil.copyfile(source / INDEX_FILE, target / INDEX_FILE)
    files = weight_files(source)
    for number, file in enumerate(files, start=1):
        progress(f"rounding file {number} of {len(files)} to bf16")
        tensors = {
            name: tensor.to(torch.bfloat16) if tensor.is_floating_point() else tensor
            for name, tensor in load_file(file).items()
        }
        save_file(tensors, target / file.name, metadata={"format": "pt"})
    config = json.loads((target / "config.json").read_text())
    config["dtype"] = "bfloat16"
    (target / "config.json").write_text(json.dumps(config, indent=2) + "\n")
