"""Write the weight files of a quantised checkpoint, one file of the base at a time."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from workers.quantization.gptq_blocks import RoundedFolder
from workers.quantization.rounding import checked_weight, checkpoint_entries, round_nearest
from workers.weights.checkpoint import INDEX_FILE, weight_bytes, weight_files

if TYPE_CHECKING:
    import torch
    from compressed_tensors.quantization import QuantizationScheme

Progress = Callable[[str], None]

TOLD_EVERY_S = 2.0


def write_weights(
    base: Path,
    folder: Path,
    schemes: Mapping[str, QuantizationScheme],
    rounded: RoundedFolder,
    progress: Progress,
) -> None:
    """Write each of the base's weight files with its linear layers rounded.

    Args:
        schemes: scheme of each module to round.
        rounded: layers that are rounded already; the others are rounded to nearest.
    Raises:
        SpecError: a weight is not finite.
    """
    from safetensors import safe_open
    from safetensors.torch import save_file

    index: dict[str, str] = {}
    files = weight_files(base)
    rounded_layers, told_s = 0, 0.0
    for number, file in enumerate(files, start=1):
        tensors: dict[str, torch.Tensor] = {}
        with safe_open(file, framework="pt") as source:
            for name in sorted(source.keys()):
                module = name.removesuffix(".weight")
                if module not in schemes or module == name:
                    tensors[name] = source.get_tensor(name)
                    continue
                rounded_layers += 1
                if time.monotonic() - told_s >= TOLD_EVERY_S:
                    told_s = time.monotonic()
                    layer = f"layer {rounded_layers} of {len(schemes)}"
                    progress(f"writing file {number} of {len(files)}, {layer}")
                scheme = schemes[module]
                layer = rounded.get(module)
                if layer is None:
                    layer = round_nearest(checked_weight(name, source.get_tensor(name)), scheme)
                tensors |= checkpoint_entries(module, layer, scheme)
        save_file(tensors, folder / file.name, metadata={"format": "pt"})
        index.update(dict.fromkeys(tensors, file.name))
    if len(files) > 1:
        _write_index(folder, index)


def _write_index(folder: Path, index: dict[str, str]) -> None:
    content = {"metadata": {"total_size": weight_bytes(folder)}, "weight_map": index}
    (folder / INDEX_FILE).write_text(json.dumps(content, indent=2) + "\n")
