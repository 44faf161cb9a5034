"""Sensitivity of layers to int4.

A layer here is what vLLM runs as one: query, key and value projections together, gate and up
projections together, and every other projection by itself. Merged projections must share a scheme.
The sensitivity of a layer is the relative error of its outputs after rounding to the nearest int4,
||W X - W_q X||^2 / ||W X||^2, over the inputs X that calibration texts give it in the unquantised
model; without texts, over inputs that are uncorrelated and of equal size.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from essa.errors import SpecError
from workers.quantization.decoder import Decoder, text_threads
from workers.quantization.hessian import input_hessians, output_energy
from workers.quantization.rounding import checked_weight, round_nearest
from workers.weights.checkpoint import WeightReader

if TYPE_CHECKING:
    import torch
    from compressed_tensors.quantization import QuantizationScheme

_MERGED = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))
_ALONE = ("o_proj", "out_proj", "down_proj", "qkv_proj", "gate_up_proj", "fc1", "fc2", "dense")

Progress = Callable[[str], None]


class Sensitivity(NamedTuple):
    """One layer as vLLM runs it: its projections, and its relative output error at int4."""

    modules: tuple[str, ...]
    error: float


def merged_layers(modules: Iterable[str]) -> list[tuple[str, ...]]:
    """Group projections the way vLLM merges them, in order of first appearance.

    Raises:
        SpecError: the name of a projection does not tell whether vLLM merges it.
    """
    groups: dict[tuple[str, str], list[str]] = {}
    for module in modules:
        parent, _, name = module.rpartition(".")
        part = next((part for part in _MERGED if name in part), None)
        if part is None and name not in _ALONE:
            raise SpecError(
                f"keep_int8 knows how vLLM merges q, k, v, o, gate, up and down projections; this "
                f"model has {module}: set engine.quantization.keep_int8 to 0",
                field="engine.quantization.keep_int8",
            )
        groups.setdefault((parent, part[0] if part else name), []).append(module)
    return [tuple(group) for group in groups.values()]


def measured_sensitivities(
    base: Path,
    modules: Sequence[str],
    scheme: QuantizationScheme,
    sequences: Sequence[Sequence[int]],
    progress: Progress,
) -> list[Sensitivity]:
    """Measure every layer on the texts, or without texts by its weights; most sensitive first."""
    energies: dict[str, tuple[float, float]] = {}

    def measure(module: str, weight: torch.Tensor, hessian: torch.Tensor | None) -> None:
        difference = weight - round_nearest(weight, scheme).weight()
        energies[module] = output_energy(difference, hessian), output_energy(weight, hessian)

    wanted = set(modules)
    if sequences:
        with text_threads(len(sequences)) as threads:
            decoder = Decoder(base, sequences, threads)
            for index in range(len(decoder)):
                started_s = time.monotonic()
                with decoder.block(index) as layers:
                    for names, hessian in input_hessians(decoder, index, layers):
                        for name in wanted.intersection(names):
                            measure(name, layers[name].weight, hessian)
                seconds = time.monotonic() - started_s
                progress(f"sensitivity: layer {index + 1} of {len(decoder)}, {seconds:.1f} s")
    else:
        reader = WeightReader(base)
        for module in modules:
            name = f"{module}.weight"
            measure(module, checked_weight(name, reader.read(name)), None)
    found = []
    for group in merged_layers(modules):
        lost = sum(energies.get(module, (0.0, 0.0))[0] for module in group)
        whole = sum(energies.get(module, (0.0, 0.0))[1] for module in group)
        found.append(Sensitivity(group, lost / whole if whole else 0.0))
    return sorted(found, key=lambda one: -one.error)
