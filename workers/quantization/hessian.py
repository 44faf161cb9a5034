"""What calibration texts say about a layer's inputs, and how far off a rounded layer is on them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from essa.errors import SpecError

if TYPE_CHECKING:
    import torch

    from workers.machine.row_threads import RowThreads
    from workers.quantization.decoder import Decoder, Layers


class SharedInput(NamedTuple):
    """Layers of one block that read the same tensor, and the Hessian of it.

    `hessian` is 2 X X^T over all tokens X, float32, shape (in, in) (arXiv:2210.17323, Section 3.2).
    """

    layers: tuple[str, ...]
    hessian: torch.Tensor


def input_hessians(decoder: Decoder, index: int, layers: Layers) -> list[SharedInput]:
    """Send the texts through a loaded block and sum up the inputs of its linear layers.

    Layers that are never called are left out.

    Raises:
        SpecError: an input is not finite, or its sum is not.
    """
    import torch

    sums: dict[str, torch.Tensor] = {}
    leaders: dict[str, str] = {}
    text = _OneText()  # of each thread its own

    def watcher(name: str) -> Callable[[Any, tuple[torch.Tensor, ...]], None]:
        return lambda _layer, inputs: text.note(name, inputs[0])

    hooks = [layer.register_forward_pre_hook(watcher(name)) for name, layer in layers.items()]
    try:
        for inputs, found in decoder.run(index, text.take):
            leaders.update(found)
            for name, rows in inputs.items():
                if name not in sums:
                    sums[name] = rows.new_zeros(rows.shape[1], rows.shape[1])
                _add_products(sums[name], rows, decoder.threads)
    finally:
        for hook in hooks:
            hook.remove()
    for name, hessian in sums.items():
        if not torch.isfinite(hessian).all():
            raise SpecError(
                f"on the calibration texts the inputs of {name} are not finite in float32; check "
                "the model's weights, or set engine.quantization.method to rtn with keep_int8 0",
                field="engine.quantization.method",
            )
    return [
        SharedInput(tuple(name for name, leader in leaders.items() if leader == first), hessian)
        for first, hessian in sums.items()
    ]


class _OneText(threading.local):
    """Inputs of the layers that a text is passing, each once, and whose input each layer reads."""

    def __init__(self) -> None:
        self._last: Any = None
        self._leader = ""
        self._inputs: dict[str, torch.Tensor] = {}
        self._leaders: dict[str, str] = {}

    def note(self, name: str, given: torch.Tensor) -> None:
        if given is not self._last:
            self._last, self._leader = given, name
            self._inputs[name] = given.flatten(0, -2)
        self._leaders[name] = self._leader

    def take(self) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
        """All of it, to begin with the next text."""
        found = self._inputs, self._leaders
        self._last, self._inputs, self._leaders = None, {}, {}
        return found


def _add_products(total: torch.Tensor, rows: torch.Tensor, threads: RowThreads | None) -> None:
    """Add 2 X X^T; each thread has rows of the sum to itself."""
    import torch

    def add(piece: slice) -> None:
        with torch.inference_mode():
            total[piece].addmm_(rows[:, piece].T, rows, alpha=2)

    if threads is None:
        add(slice(0, len(total)))
    else:
        threads.map(add, threads.pieces(len(total)))


def output_energy(weight: torch.Tensor, hessian: torch.Tensor | None) -> float:
    """tr(W H W^T): twice the squared norm of the outputs W X; without H that of W itself."""
    import torch

    product = weight if hessian is None else weight @ hessian
    return (product * weight).sum(dtype=torch.float64).item()


def relative_error(
    weight: torch.Tensor, rounded: torch.Tensor, hessian: torch.Tensor | None
) -> float:
    """||W X - W_q X||^2 / ||W X||^2; 0 where both are zero."""
    whole = output_energy(weight, hessian)
    return output_energy(weight - rounded, hessian) / whole if whole else 0.0
