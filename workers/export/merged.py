"""A whole model with the adapter merged into its weights, written one file at a time.

    W' = W + scaling * B @ A        (rounded once, from float32 to the format of W)

Only the weights of one file are in memory at a time, whatever the size of the model.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from essa.errors import AdapterError, SpecError
from essa.parametrize.adapter import LoraAdapter, LoraModule
from essa.storage.faults import require_room
from workers.export.licence import licence_files
from workers.weights.checkpoint import INDEX_FILE, WeightReader, copy_side_files, weight_bytes

if TYPE_CHECKING:
    import torch

SHARD_WEIGHTS = 2**29
"""Number of weights per file (1 GiB in bf16), unless a single tensor is larger."""

Progress = Callable[[str], None]


def merge_folder(
    base: Path,
    adapter: LoraAdapter,
    folder: Path,
    progress: Progress,
    *,
    in_float32: bool = False,
    shard_weights: int = SHARD_WEIGHTS,
) -> None:
    """Write base and adapter as one Hugging Face model folder.

    Args:
        base: folder of the unquantised base model.
        adapter: plain LoRA on linear layers.
        folder: an empty folder.
        progress: called with one line per file.
        in_float32: store merged weights, and all others, in float32.
        shard_weights: number of weights per file.
    Raises:
        SpecError: the base is quantised.
        StorageError: the disk has no room for the model.
        AdapterError: a layer of the adapter is not in the base, or has another shape.
    """
    from safetensors.torch import save_file

    config = _plain_config(base)
    weights = WeightReader(base)
    shapes = weights.shapes()
    size = 4 * sum(map(math.prod, shapes.values())) if in_float32 else weight_bytes(base)
    require_room(folder, size, "the merged model", "--out, or ESSA_HOME of the service,")
    modules = _by_weight(adapter, shapes)
    shards = _shards(shapes, shard_weights)
    index: dict[str, str] = {}
    for number, names in enumerate(shards, start=1):
        name = _file_name(number, len(shards))
        progress(f"merging file {number} of {len(shards)}")
        tensors = {
            weight: _merged(weights.read(weight), modules.get(weight), in_float32)
            for weight in names
        }
        save_file(tensors, folder / name, metadata={"format": "pt"})
        index.update(dict.fromkeys(names, name))
        del tensors
    if len(shards) > 1:
        total = {"metadata": {"total_size": weight_bytes(folder)}, "weight_map": index}
        (folder / INDEX_FILE).write_text(json.dumps(total, indent=2) + "\n")
    copy_side_files(base, folder)
    for path in licence_files(base):
        shutil.copyfile(path, folder / path.name)
    if in_float32:
        _write_float32(config, folder)


def _plain_config(base: Path) -> dict[str, object]:
    config = json.loads((base / "config.json").read_text())
    if "quantization_config" in config:
        raise SpecError(
            f"the base in {base} is quantised, an adapter cannot be merged into it; export the "
            "adapter, or format quantized",
            field="format",
        )
    return config


def _by_weight(
    adapter: LoraAdapter, shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, LoraModule]:
    if adapter.config.get("fan_in_fan_out"):
        raise AdapterError(
            "adapter_config.json has fan_in_fan_out=true: layers that store their weight "
            "transposed cannot be merged; export the adapter"
        )
    modules = {f"{module.name}.weight": module for module in adapter.modules}
    for name, module in modules.items():
        if name not in shapes:
            raise AdapterError(
                f"the adapter has the layer {module.name}, but the base has no {name}: it belongs "
                "to another model, or that layer has no weight of its own; export the adapter"
            )
        expected = (module.lora_B.shape[0], module.lora_A.shape[1])
        if shapes[name] != expected:
            raise AdapterError(
                f"{name} of the base has shape {shapes[name]}, the adapter was made for "
                f"{expected}: it belongs to another model"
            )
    return modules


def _shards(shapes: Mapping[str, tuple[int, ...]], shard_weights: int) -> list[list[str]]:
    """Return the names of the tensors of each file, in the base's order."""
    shards: list[list[str]] = []
    room = 0
    for name, shape in shapes.items():
        size = math.prod(shape)
        if not shards or size > room:
            shards.append([])
            room = shard_weights
        shards[-1].append(name)
        room -= size
    return shards


def _file_name(number: int, count: int) -> str:
    return "model.safetensors" if count == 1 else f"model-{number:05d}-of-{count:05d}.safetensors"


def _merged(weight: torch.Tensor, module: LoraModule | None, in_float32: bool) -> torch.Tensor:
    import torch

    kept = weight.float() if in_float32 and weight.is_floating_point() else weight
    if module is None:
        return kept.contiguous()
    lora_A, lora_B = torch.from_numpy(module.lora_A), torch.from_numpy(module.lora_B)
    merged = weight.float()
    merged = torch.addmm(merged, lora_B, lora_A, alpha=module.scaling)
    return merged.to(kept.dtype)


def _write_float32(config: dict[str, object], folder: Path) -> None:
    for name in ("dtype", "torch_dtype"):
        if name in config:
            config[name] = "float32"
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
