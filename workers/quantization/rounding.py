"""Scales, integers and checkpoint entries of one layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from essa.errors import SpecError
from workers.quantization.schemes import weight_args

if TYPE_CHECKING:
    import torch
    from compressed_tensors.quantization import QuantizationScheme


class Rounded(NamedTuple):
    """A layer's weights as integers.

    `integers` is int8 of shape (out, in), `scale` float32 of shape (out, groups); a group is
    in / groups neighbouring inputs.
    """

    integers: torch.Tensor
    scale: torch.Tensor

    def weight(self) -> torch.Tensor:
        """Return the float32 weights (out, in) that the integers represent."""
        return self.integers.float() * spread(self.scale, self.integers.shape[1])


def checked_weight(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """Return the tensor in float32.

    Raises:
        SpecError: the tensor holds infinities or NaN.
    """
    import torch

    if not torch.isfinite(tensor).all():
        raise SpecError(
            f"{name} holds infinities or NaN and cannot be rounded; check the files of model.path",
            field="model.path",
        )
    return tensor.float()


def scale_for(weight: torch.Tensor, scheme: QuantizationScheme) -> torch.Tensor:
    """Return symmetric scales of a float32 weight (out, in), as the checkpoint will hold them.

    Returns:
        float32, shape (out, groups): absmax / 127.5 for int8, absmax / 7.5 for int4.
    """
    import torch
    from compressed_tensors.quantization.utils import calculate_qparams

    arguments = weight_args(scheme)
    group = arguments.group_size or weight.shape[1]
    blocks = weight.view(weight.shape[0], -1, group)
    scale, _ = calculate_qparams(blocks.amin(-1), blocks.amax(-1), arguments)
    if scheme.input_activations is None:
        # Engines hold weight-only scales in bf16, so the integers must be chosen for those.
        scale = scale.to(torch.bfloat16).float()
    return scale


def bounds(scheme: QuantizationScheme) -> tuple[int, int]:
    """Return the smallest and the largest integer of a scheme."""
    half = 2 ** (weight_args(scheme).num_bits - 1)
    return -half, half - 1


def spread(scale: torch.Tensor, width: int) -> torch.Tensor:
    """Return one scale per input, shape (out, width), from one per group, shape (out, groups)."""
    return scale.repeat_interleave(width // scale.shape[1], dim=1)


def round_nearest(weight: torch.Tensor, scheme: QuantizationScheme) -> Rounded:
    """Round a float32 weight (out, in) to the nearest integers."""
    import torch

    scale = scale_for(weight, scheme)
    integers = torch.clamp(torch.round(weight / spread(scale, weight.shape[1])), *bounds(scheme))
    return Rounded(integers.to(torch.int8), scale)


def checkpoint_entries(
    module: str, rounded: Rounded, scheme: QuantizationScheme
) -> dict[str, torch.Tensor]:
    """Return the checkpoint entries that represent a layer's weight."""
    import torch
    from compressed_tensors.compressors.base import BaseCompressor
    from compressed_tensors.compressors.format import infer_module_format

    layout = infer_module_format(torch.nn.Linear, scheme)
    compressor: Any = BaseCompressor.get_value_from_registry(layout.value)
    # The compressor divides by the scale and rounds, which gives back the integers.
    entries = compressor.compress(
        {"weight": rounded.weight(), "weight_scale": rounded.scale}, scheme
    )
    if scheme.input_activations is None:
        entries["weight_scale"] = entries["weight_scale"].to(torch.bfloat16)
    return {f"{module}.{part}": value.contiguous() for part, value in entries.items()}
