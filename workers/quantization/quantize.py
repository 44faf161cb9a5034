"""Round a base model to INT8 or INT4 in the compressed-tensors checkpoint format.

`schemes.py` defines both. Weights are rounded to nearest or by GPTQ (`gptq.py`); with INT4 a few
layers may stay INT8. The output head and the embeddings are not quantised.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple

from essa.errors import SpecError
from essa.spec.engine import Precision, QuantizationMethod, QuantizationSpec
from workers.quantization.calibration import token_sequences
from workers.quantization.checkpoint_writer import write_weights
from workers.quantization.decoder import Decoder, text_threads
from workers.quantization.gptq_blocks import LayerError, RoundedFolder, round_blocks
from workers.quantization.schemes import Shapes, config_entry, scheme_for, weight_args
from workers.quantization.sensitivity import Sensitivity, measured_sensitivities, merged_layers
from workers.weights.checkpoint import copy_side_files, weight_files

if TYPE_CHECKING:
    from compressed_tensors.quantization import QuantizationScheme

Progress = Callable[[str], None]


class QuantizationReport(NamedTuple):
    """Findings of a quantisation: errors of each layer (GPTQ), layers kept INT8, worst first."""

    errors: tuple[LayerError, ...]
    kept: tuple[Sensitivity, ...]


def quantize_folder(
    base: Path,
    folder: Path,
    precision: Precision,
    progress: Progress,
    *,
    settings: QuantizationSpec | None = None,
    texts: Sequence[str] = (),
) -> QuantizationReport:
    """Write the quantised form of the Hugging Face model in `base` to `folder`.

    Processes one weight file at a time, and with texts one decoder block at a time.

    Args:
        folder: an empty folder.
        settings: settings of the rounding; to nearest by default.
        texts: calibration texts, used if `settings.is_calibrated`.
    Raises:
        SpecError: `precision` is not a quantised one, the model is quantised already, its weights
            are not plain linear layers, or the settings do not fit it.
    """
    from workers.machine.row_threads import keep_to_quota

    keep_to_quota()
    settings = settings or QuantizationSpec()
    config = json.loads((base / "config.json").read_text())
    if "quantization_config" in config:
        raise SpecError(
            f"the model in {base} is quantised already, engine.precision {precision} cannot be "
            "applied to it; set engine.precision to bf16 to run it as it is",
            field="engine.precision",
        )
    shapes = linear_shapes(base)
    scheme = scheme_for(precision, shapes, settings.group_size)
    _check_supported(base, shapes)
    modules = [name.removesuffix(".weight") for name in shapes]
    sequences = _sequences(texts, base, settings, progress)
    kept = _kept_layers(base, modules, scheme, sequences, settings, progress)
    named = [module for layer in kept for module in layer.modules]
    schemes = dict.fromkeys(modules, scheme) | dict.fromkeys(
        named, scheme_for(Precision.INT8, shapes)
    )
    errors: list[LayerError] = []
    with TemporaryDirectory(dir=folder, prefix="rounded-") as scratch:
        rounded = RoundedFolder(Path(scratch))
        if settings.method is QuantizationMethod.GPTQ:
            with text_threads(len(sequences)) as threads:
                decoder = Decoder(base, sequences, threads)
                errors = round_blocks(decoder, schemes, rounded, progress)
        write_weights(base, folder, schemes, rounded, lambda text: progress(f"{precision}: {text}"))
    copy_side_files(base, folder)
    config["quantization_config"] = config_entry(scheme, named)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    return QuantizationReport(tuple(errors), kept)


def linear_shapes(base: Path) -> Shapes:
    """Return the weight names of the linear layers to quantise, with their shapes (out, in).

    Both come from the architecture alone; no weights are loaded.
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


def _check_supported(base: Path, shapes: Shapes) -> None:
    """Refuse weights that would be left unquantised although the engine expects them to be."""
    from safetensors import safe_open

    plain = ("embed", "norm", "lm_head", "bias", "inv_freq")
    odd: list[str] = []
    for file in weight_files(base):
        with safe_open(file, framework="pt") as source:
            names = set(source.keys()) - shapes.keys()
        odd += sorted(name for name in names if not any(part in name for part in plain))
    if odd or not shapes:
        raise SpecError(
            f"cannot quantise the model in {base}: {odd[0] if odd else 'it'} is not a plain "
            "linear layer; set engine.precision to bf16, or model.path to a checkpoint that is "
            "quantised already",
            field="engine.precision",
        )


def _sequences(
    texts: Sequence[str], base: Path, settings: QuantizationSpec, progress: Progress
) -> list[list[int]]:
    if settings.method is QuantizationMethod.GPTQ and not texts:
        raise SpecError(
            "gptq needs calibration texts and got none; give --calibration, or set the method to "
            "rtn",
            field="engine.quantization.calibration",
        )
    if not texts or not settings.is_calibrated:
        return []
    sequences = [ids for ids in token_sequences(texts, base, settings) if ids]
    if not sequences:
        raise SpecError(
            "no calibration text has a token to this model's tokenizer; set "
            "engine.quantization.calibration to other texts",
            field="engine.quantization.calibration",
        )
    progress(f"calibrating on {len(sequences)} texts, {sum(map(len, sequences)):,} tokens")
    return sequences


def _kept_layers(
    base: Path,
    modules: Sequence[str],
    scheme: QuantizationScheme,
    sequences: Sequence[Sequence[int]],
    settings: QuantizationSpec,
    progress: Progress,
) -> tuple[Sensitivity, ...]:
    count = settings.keep_int8
    if count == 0:
        return ()
    if weight_args(scheme).num_bits == 8:
        raise SpecError(
            f"keep_int8 is {count} but every layer is int8 already; take an int4 scheme",
            field="engine.quantization.keep_int8",
        )
    layers = len(merged_layers(modules))
    if count >= layers:
        raise SpecError(
            f"keep_int8 is {count} but the model has {layers} layers; set it to at most "
            f"{layers - 1}, or take int8",
            field="engine.quantization.keep_int8",
        )
    found = measured_sensitivities(base, modules, scheme, sequences, progress)
    for layer in found[:count]:
        progress(f"stays int8: {' + '.join(layer.modules)}, int4 output error {layer.error:.2e}")
    return tuple(found[:count])
