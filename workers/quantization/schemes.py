"""Quantisation schemes: their names, their group sizes, and how a checkpoint declares them.

INT8 is W8A8: symmetric int8 weights with one scale per output channel, activations quantised per
token while running. INT4 is W4A16: symmetric int4 weights with one scale per group of inputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from essa.errors import SpecError
from essa.spec.engine import Precision

if TYPE_CHECKING:
    from compressed_tensors.config import CompressionFormat
    from compressed_tensors.quantization import (
        QuantizationArgs,
        QuantizationConfig,
        QuantizationScheme,
    )

GROUP_SIZES = (128, 64, 32)
"""INT4 group sizes tried, in this order; vLLM's CPU kernel needs inputs in multiples of 32."""

Shapes = dict[str, tuple[int, int]]
"""Shape (outputs, inputs) by weight name."""


class NamedScheme(NamedTuple):
    """Precision and INT4 group size that a scheme's name stands for."""

    precision: Precision
    group_size: int | None


SCHEMES = {
    "int8-w8a8": NamedScheme(Precision.INT8, None),
    **{f"int4-w4a16-g{size}": NamedScheme(Precision.INT4, size) for size in GROUP_SIZES},
}


def named_scheme(name: str) -> NamedScheme:
    """Look up a scheme by its name.

    Raises:
        SpecError: there is no scheme of that name.
    """
    if name not in SCHEMES:
        raise SpecError(f"there is no scheme {name!r}; set --scheme to one of {', '.join(SCHEMES)}")
    return SCHEMES[name]


def scheme_for(
    precision: Precision, shapes: Shapes, group_size: int | None = None
) -> QuantizationScheme:
    """Return the compressed-tensors scheme of a precision.

    Args:
        shapes: shapes of the layers to quantise.
        group_size: inputs per INT4 scale; None takes the largest size that divides every layer.
    Raises:
        SpecError: no such scheme, or the INT4 group size does not divide every layer's inputs.
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
    size = _group_size({inputs for _, inputs in shapes.values()}, group_size)
    weights = weight_args(scheme).model_copy(update={"group_size": size})
    return scheme.model_copy(update={"weights": weights})


def weight_args(scheme: QuantizationScheme) -> QuantizationArgs:
    """Return the weight arguments of a scheme, which all of `SCHEMES` have."""
    assert scheme.weights is not None  # all of `SCHEMES` round them
    return scheme.weights


def _group_size(widths: set[int], wanted: int | None) -> int:
    fitting = [size for size in GROUP_SIZES if all(width % size == 0 for width in widths)]
    if not fitting:
        raise SpecError(
            f"int4 needs layer inputs in multiples of {GROUP_SIZES[-1]}, this model has "
            f"{sorted(widths)}; set engine.precision to int8 or bf16",
            field="engine.precision",
        )
    if wanted is None:
        return fitting[0]
    if wanted not in fitting:
        odd = min(width for width in widths if width % wanted)
        raise SpecError(
            f"groups of {wanted} inputs do not divide a layer of {odd}; "
            f"{' and '.join(map(str, fitting))} divide every layer of this model: set "
            f"engine.quantization.group_size, or --scheme int4-w4a16-g{fitting[0]}",
            field="engine.quantization.group_size",
        )
    return wanted


def config_entry(scheme: QuantizationScheme, kept: Sequence[str] = ()) -> dict[str, Any]:
    """Return the `quantization_config` of a checkpoint.

    vLLM and compressed-tensors both look a layer up by its full name before they try its class, so
    the names of the second scheme win over the `Linear` of the first.

    Args:
        scheme: scheme of all linear layers except those kept.
        kept: modules that are INT8 while `scheme` is not.
    """
    from compressed_tensors.quantization import (
        QuantizationConfig,
        QuantizationStatus,
        preset_name_to_scheme,
    )

    groups: dict[str, QuantizationScheme | list[str]] = {"group_0": _with_format(scheme)}
    if kept:
        groups["group_1"] = _with_format(preset_name_to_scheme("W8A8", list(kept)))
    config = QuantizationConfig(
        config_groups=groups,
        format="mixed-precision" if kept else _layout(scheme).value,
        ignore=["lm_head"],
        quantization_status=QuantizationStatus.COMPRESSED,
    )
    return {"quant_method": "compressed-tensors", **config.model_dump(mode="json")}


def scheme_of(config: QuantizationConfig, module: str) -> QuantizationScheme:
    """Return the scheme that a configuration written by `config_entry` gives to a module."""
    # The declared type also allows preset names, which the configuration has replaced by schemes.
    general, *named = cast("list[QuantizationScheme]", list(config.config_groups.values()))
    return next((scheme for scheme in named if module in scheme.targets), general)


def _with_format(scheme: QuantizationScheme) -> QuantizationScheme:
    return scheme.model_copy(update={"format": _layout(scheme)})


def _layout(scheme: QuantizationScheme) -> CompressionFormat:
    import torch
    from compressed_tensors.compressors.format import infer_module_format

    return infer_module_format(torch.nn.Linear, scheme)
