"""Round a base model to INT8 or INT4 in the compressed-tensors checkpoint format.

INT8 is W8A8: symmetric int8 weights with one scale per output channel, activations quantised per
token while running. INT4 is W4A16: symmetric int4 weights with one scale per group of inputs.
Both round to nearest; no calibration data is used. The output head and embeddings stay as they are.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from essa.errors import SpecError
from essa.spec.engine import Precision
from workers.models.checkpoint import copy_side_files, weight_files

if TYPE_CHECKING:
    import torch
    from compressed_tensors.quantization import QuantizationScheme

GROUP_SIZES = (128, 64, 32)
"""INT4 group sizes tried, in this order; vLLM's CPU kernel needs inputs in multiples of 32."""

Progress = Callable[[str], None]


def quantize_folder(base: Path, folder: Path, precision: Precision, progress: Progress) -> None:
    """Write the quantised form of the Hugging Face model in `base` to `folder`.

    Works through one weight file at a time, so memory stays near the largest file.

    Raises:
        SpecError: `precision` is not a quantised one, the model is quantised already, or its
            weights are not plain linear layers.
    """
    from safetensors import safe_open
    from safetensors.torch import save_file

    config = json.loads((base / "config.json").read_text())
    if "quantization_config" in config:
        raise SpecError(
            f"the model in {base} is quantised already, engine.precision {precision} cannot be "
            "applied to it; set engine.precision to bf16 to run it as it is",
            field="engine.precision",
        )
    shapes = linear_shapes(base)
    scheme = scheme_for(precision, shapes)
    copy_side_files(base, folder)
    index: dict[str, str] = {}
    files = weight_files(base)
    for number, file in enumerate(files, start=1):
        progress(f"quantising to {precision}: file {number} of {len(files)}")
        with safe_open(file, framework="pt") as source:
            names = set(source.keys())
            _check_supported(names, shapes, base)
            tensors = {}
            for name in sorted(names):
                tensors.update(_quantized(name, source.get_tensor(name), shapes, scheme))
        save_file(tensors, folder / file.name, metadata={"format": "pt"})
        index.update(dict.fromkeys(tensors, file.name))
    if len(files) > 1:
        _write_index(folder, index)
    config["quantization_config"] = _config_entry(scheme)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def dequantized_state_dict(folder: Path, dtype: torch.dtype | None = None) -> dict[str, Any]:
    """Read a folder written by `quantize_folder` back to plain weights.

    Args:
        folder: the quantised checkpoint.
        dtype: of the rebuilt weights; float32 by default, which adds no second rounding.
    Returns:
        State dict of the Hugging Face model, with the rounding of the weights in it.
    """
    import torch
    from compressed_tensors.compressors.base import BaseCompressor
    from compressed_tensors.quantization import QuantizationConfig
    from safetensors.torch import load_file

    config = json.loads((folder / "config.json").read_text())
    quantization = QuantizationConfig.model_validate(config["quantization_config"])
    (scheme,) = quantization.config_groups.values()
    compressor = BaseCompressor.get_value_from_registry(quantization.format)
    state: dict[str, Any] = {}
    for file in weight_files(folder):
        tensors = load_file(file)
        for module, parts in _grouped_by_module(tensors):
            if "weight_scale" in parts:
                parts["weight_scale"] = parts["weight_scale"].float()
                rebuilt = compressor.decompress(parts, scheme)["weight"]
                state[f"{module}.weight"] = rebuilt.to(dtype or torch.float32)
                parts = {name: value for name, value in parts.items() if name == "bias"}
            state.update({f"{module}.{name}": value for name, value in parts.items()})
    return state


def save_dequantized(folder: Path, target: Path) -> None:
    """Write the bf16 model whose weights carry the rounding of the quantised `folder`.

    `target` loads anywhere; it is how the numbers of a quantised base are compared elsewhere.
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


def linear_shapes(base: Path) -> dict[str, tuple[int, int]]:
    """Weight names of the linear layers to quantise and their shapes (out, in).

    Read from the architecture alone; no weights are loaded.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(base))
    head = model.get_output_embeddings()
    return {
        f"{name}.weight": (module.out_features, module.in_features)
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and module is not head
    }


def scheme_for(precision: Precision, shapes: dict[str, tuple[int, int]]) -> QuantizationScheme:
    """The compressed-tensors scheme of a precision.

    Raises:
        SpecError: no such scheme, or no INT4 group size divides every layer's inputs.
    """
    from compressed_tensors.quantization import preset_name_to_scheme

    if precision is Precision.INT8:
        return preset_name_to_scheme("W8A8", ["Linear"])
    if precision is not Precision.INT4:
        raise SpecError(
            f"engine.precision {precision} is not a quantised one; give int8 or int4",
            field="engine.precision",
        )
    scheme = preset_name_to_scheme("W4A16", ["Linear"])
    widths = {inputs for _, inputs in shapes.values()}
    for size in GROUP_SIZES:
        if all(width % size == 0 for width in widths):
            weights = scheme.weights.model_copy(update={"group_size": size})
            return scheme.model_copy(update={"weights": weights})
    raise SpecError(
        f"int4 needs layer inputs in multiples of {GROUP_SIZES[-1]}, this model has "
        f"{sorted(widths)}; set engine.precision to int8 or bf16",
        field="engine.precision",
    )


def _check_supported(names: set[str], shapes: dict[str, tuple[int, int]], base: Path) -> None:
    """Refuse weights that would be left unquantised although the engine expects them to be."""
    plain = ("embed", "norm", "lm_head", "bias", "inv_freq")
    odd = sorted(n for n in names if n not in shapes and not any(part in n for part in plain))
    if odd or not shapes:
        raise SpecError(
            f"cannot quantise the model in {base}: {odd[0] if odd else 'it'} is not a plain "
            "linear layer; set engine.precision to bf16, or model.path to a checkpoint that is "
            "quantised already",
            field="engine.precision",
        )


def _quantized(
    name: str,
    tensor: torch.Tensor,
    shapes: dict[str, tuple[int, int]],
    scheme: QuantizationScheme,
) -> dict[str, torch.Tensor]:
    """The checkpoint entries that stand for one tensor of the base."""
    import torch
    from compressed_tensors.compressors.base import BaseCompressor
    from compressed_tensors.compressors.format import infer_module_format
    from compressed_tensors.quantization.utils import calculate_qparams

    if name not in shapes:
        return {name: tensor}
    weight = tensor.float()
    group = scheme.weights.group_size or weight.shape[1]
    blocks = weight.view(weight.shape[0], -1, group)
    scale, _ = calculate_qparams(blocks.amin(-1), blocks.amax(-1), scheme.weights)
    if scheme.input_activations is None:
        # Engines hold weight-only scales in bf16, so the integers must be chosen for those.
        scale = scale.to(torch.bfloat16).float()
    layout = infer_module_format(torch.nn.Linear, scheme)
    compressor = BaseCompressor.get_value_from_registry(layout.value)
    entries = compressor.compress({"weight": weight, "weight_scale": scale}, scheme)
    if scheme.input_activations is None:
        entries["weight_scale"] = entries["weight_scale"].to(torch.bfloat16)
    module = name.removesuffix(".weight")
    return {f"{module}.{part}": value.contiguous() for part, value in entries.items()}


def _config_entry(scheme: QuantizationScheme) -> dict[str, Any]:
    import torch
    from compressed_tensors.compressors.format import infer_module_format
    from compressed_tensors.quantization import QuantizationConfig, QuantizationStatus

    layout = infer_module_format(torch.nn.Linear, scheme)
    config = QuantizationConfig(
        config_groups={"group_0": scheme.model_copy(update={"format": layout})},
        format=layout.value,
        ignore=["lm_head"],
        quantization_status=QuantizationStatus.COMPRESSED,
    )
    return {"quant_method": "compressed-tensors", **config.model_dump(mode="json")}


def _write_index(folder: Path, index: dict[str, str]) -> None:
    total = sum(file.stat().st_size for file in weight_files(folder))
    content = {"metadata": {"total_size": total}, "weight_map": index}
    (folder / "model.safetensors.index.json").write_text(json.dumps(content, indent=2) + "\n")


def _grouped_by_module(
    tensors: dict[str, torch.Tensor],
) -> Iterator[tuple[str, dict[str, torch.Tensor]]]:
    modules: dict[str, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        module, _, part = name.rpartition(".")
        modules.setdefault(module, {})[part] = tensor
    yield from modules.items()
