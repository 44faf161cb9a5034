"""GPTQ for a whole model, block by block, each on the outputs of the rounded blocks before it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from workers.quantization.decoder import Decoder, Layers
from workers.quantization.gptq import DAMPING, Feedback, feedback_of, round_gptq
from workers.quantization.hessian import SharedInput, input_hessians, relative_error
from workers.quantization.rounding import Rounded, bounds, round_nearest, scale_for

if TYPE_CHECKING:
    import torch
    from compressed_tensors.quantization import QuantizationScheme

    from workers.machine.row_threads import RowThreads

Progress = Callable[[str], None]

LEAST_ROWS = 512
"""Least rows of a weight per thread: with fewer, most time goes into starting operations."""


class LayerError(NamedTuple):
    """Relative output errors of one layer on the same inputs: by GPTQ, and rounded to nearest."""

    module: str
    gptq: float
    nearest: float


class RoundedFolder:
    """Integers and scales of layers, kept on disk until the checkpoint is written."""

    def __init__(self, folder: Path) -> None:
        """Use `folder`, which must be empty."""
        self._folder = folder
        self._files: dict[str, Path] = {}

    def put(self, rounded: Mapping[str, Rounded]) -> None:
        """Store some layers, by module name."""
        from safetensors.torch import save_file

        if not rounded:
            return
        file = self._folder / f"{len(self._files)}.safetensors"
        tensors = {}
        for module, layer in rounded.items():
            tensors[f"{module}.integers"] = layer.integers.cpu().contiguous()
            tensors[f"{module}.scale"] = layer.scale.cpu().contiguous()
            self._files[module] = file
        save_file(tensors, file)

    def get(self, module: str) -> Rounded | None:
        """Read one layer; None if it was not stored."""
        from safetensors import safe_open

        if module not in self._files:
            return None
        with safe_open(self._files[module], framework="pt") as source:
            return Rounded(
                source.get_tensor(f"{module}.integers"), source.get_tensor(f"{module}.scale")
            )


def round_blocks(
    decoder: Decoder,
    schemes: Mapping[str, QuantizationScheme],
    store: RoundedFolder,
    progress: Progress,
) -> list[LayerError]:
    """Round every block's linear layers by GPTQ, in order.

    Layers that no text reaches are not stored.

    Args:
        schemes: scheme of each module to round.
        store: folder that receives the integers and scales.
    """
    errors: list[LayerError] = []
    for index in range(len(decoder)):
        started_s = time.monotonic()
        found = round_block(decoder, index, schemes, store, progress)
        errors += found
        seconds = time.monotonic() - started_s
        progress(
            f"gptq: layer {index + 1} of {len(decoder)}, {seconds:.1f} s, {_mean_errors(found)}"
        )
    return errors


def round_block(
    decoder: Decoder,
    index: int,
    schemes: Mapping[str, QuantizationScheme],
    store: RoundedFolder,
    progress: Progress,
) -> list[LayerError]:
    """Round the linear layers of one block; blocks must be rounded in order."""
    errors: list[LayerError] = []
    with decoder.block(index) as layers:
        done: dict[str, Rounded] = {}
        # All Hessians first: within a block they are computed before its layers are rounded.
        for shared in input_hessians(decoder, index, layers):
            done.update(_round_shared(shared, layers, schemes, errors, progress, decoder.threads))
        store.put(done)
        for module, rounded in done.items():
            layers[module].weight.data = rounded.weight()
    return errors


def _round_shared(
    shared: SharedInput,
    layers: Layers,
    schemes: Mapping[str, QuantizationScheme],
    errors: list[LayerError],
    progress: Progress,
    threads: RowThreads | None,
) -> dict[str, Rounded]:
    with threads.together() if threads else nullcontext():
        feedback = feedback_of(shared.hessian)
    if feedback.damping > DAMPING:
        progress(
            f"the Hessian of {shared.layers[0]} is singular: damping raised from {DAMPING:g} to "
            f"{feedback.damping:g}"
        )
    done = {}
    for module in shared.layers:
        if module not in schemes:
            continue
        weight, scheme = layers[module].weight.data, schemes[module]
        scale = scale_for(weight, scheme)
        done[module] = _round_rows(weight, scale, feedback, bounds(scheme), threads)
        found, nearest = (
            relative_error(weight, rounded.weight(), shared.hessian)
            for rounded in (done[module], round_nearest(weight, scheme))
        )
        errors.append(LayerError(module, found, nearest))
    return done


def _round_rows(
    weight: torch.Tensor,
    scale: torch.Tensor,
    feedback: Feedback,
    limits: tuple[int, int],
    threads: RowThreads | None,
) -> Rounded:
    """Round a weight with each thread taking some of its rows, which are independent."""
    import torch

    if threads is None:
        return round_gptq(weight, scale, feedback, limits)
    found = threads.map(
        lambda rows: round_gptq(weight[rows], scale[rows], feedback, limits),
        threads.pieces(len(weight), LEAST_ROWS),
    )
    return Rounded(torch.cat([one.integers for one in found]), scale)


def _mean_errors(errors: list[LayerError]) -> str:
    if not errors:
        return "no layer reached"
    gptq = sum(error.gptq for error in errors) / len(errors)
    nearest = sum(error.nearest for error in errors) / len(errors)
    return f"output error {gptq:.2e} (rounded to nearest {nearest:.2e})"
