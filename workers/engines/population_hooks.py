"""Per-row adapters on a Hugging Face model: every row of a batch runs its own candidate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from essa.errors import EngineError
from essa.parametrize.engine_basis import EngineBasis, ModuleBasis
from workers.engines.base import BASE


@dataclass(frozen=True)
class _ResidentModule:
    """A module's bases on the device, transposed for row vectors, and its first scale column."""

    shrink: torch.Tensor
    core: torch.Tensor | None
    expand: torch.Tensor
    start: int

    def delta(self, x: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Return the candidates' addition (R, T, out) for inputs (R, T, in) and scales (R, S)."""
        rank = self.shrink.shape[1]
        first = rows[:, None, self.start : self.start + rank]
        hidden = (x @ self.shrink) * first
        if self.core is not None:
            second = rows[:, None, self.start + rank : self.start + 2 * rank]
            hidden = (hidden @ self.core) * second
        return hidden @ self.expand


class PopulationHooks:
    """Forward hooks that add each row's candidate to the adapted linear layers.

    Adapters are float32, whatever the format of the base: they are the part under search.
    Not thread safe; the engine holds its lock around every use.
    """

    def __init__(self, model: nn.Module, basis: EngineBasis, device: torch.device) -> None:
        self.basis = basis
        self._device = device
        # All modules are checked before the first hook is set, so a refused basis changes nothing.
        layers = [_find_layer(model, module) for module in basis.modules]
        starts = basis.offsets()
        self._table = torch.zeros(1, basis.width, device=device)
        self._rows: torch.Tensor | None = None
        self._handles = [
            layer.register_forward_hook(
                self._hook(
                    self._upload(module, starts[module.name]),
                    # peft adds in float32 and rounds once, but over bitsandbytes layers it rounds
                    # the adapter's part first. Doing the same matters: int8 activations turn one
                    # bit of bfloat16 into 0.2 of a log-probability (measured on SmolLM2).
                    rounds_first=not layer.weight.is_floating_point(),
                )
            )
            for layer, module in zip(layers, basis.modules, strict=True)
        ]

    @property
    def population(self) -> int:
        """Number of candidates held now."""
        return len(self._table) - 1

    def set_population(self, scales_N_S: NDArray[np.float32]) -> None:
        """Replace all candidates, shape (N, S); the table's last row, of zeros, is the base."""
        table = torch.zeros(len(scales_N_S) + 1, self.basis.width, device=self._device)
        table[:-1] = torch.from_numpy(np.array(scales_N_S, dtype=np.float32))
        self._table = table

    def select(self, candidates: Sequence[int]) -> None:
        """Make row i of the next forward passes run `candidates[i]`."""
        if all(candidate == BASE for candidate in candidates):
            self._rows = None
            return
        # BASE is -1: the last row of the table.
        self._rows = self._table[torch.tensor(candidates, device=self._device)]

    def keep(self, indices: torch.Tensor) -> None:
        """Keep only these rows of the batch."""
        if self._rows is not None:
            self._rows = self._rows[indices]

    def remove(self) -> None:
        """Remove the hooks from the model."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self._rows = None

    def _upload(self, module: ModuleBasis, start: int) -> _ResidentModule:
        return _ResidentModule(
            shrink=self._transposed(module.shrink),
            core=None if module.core is None else self._transposed(module.core),
            expand=self._transposed(module.expand),
            start=start,
        )

    def _transposed(self, array: NDArray[np.float32]) -> torch.Tensor:
        return torch.from_numpy(np.array(array.T, dtype=np.float32, order="C")).to(self._device)

    def _hook(self, module: _ResidentModule, rounds_first: bool) -> Callable[..., torch.Tensor]:
        def add(layer: nn.Module, inputs: tuple[Any, ...], output: torch.Tensor) -> torch.Tensor:
            rows = self._rows
            if rows is None:
                return output
            x = inputs[0]
            if x.ndim != 3 or len(x) != len(rows):
                raise EngineError(
                    f"an adapted layer got input {tuple(x.shape)}; expected ({len(rows)}, T, in). "
                    "Layers that mix rows, such as routed experts, cannot be adapted per row"
                )
            delta = module.delta(x.float(), rows)
            if rounds_first:
                delta = delta.to(output.dtype)
            return (output + delta).to(output.dtype)

        return add


def _find_layer(model: nn.Module, module: ModuleBasis) -> nn.Linear:
    try:
        layer = model.get_submodule(module.name)
    except AttributeError as error:
        raise EngineError(
            f"the model has no module {module.name}; the adapter belongs to another base model, "
            "see model.path and warm_start"
        ) from error
    if not isinstance(layer, nn.Linear):
        raise EngineError(
            f"{module.name} is a {type(layer).__name__}; only linear layers can be adapted, "
            "see lora.target_modules"
        )
    expected = (layer.in_features, layer.out_features)
    found = (module.shrink.shape[1], module.expand.shape[0])
    if found != expected:
        raise EngineError(
            f"{module.name}: the adapter maps {found[0]} -> {found[1]}, the model's layer "
            f"{expected[0]} -> {expected[1]}; the adapter belongs to another base model"
        )
    return layer
