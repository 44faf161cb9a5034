"""The Hessian of a layer's inputs on calibration texts, and a rounded layer's error on them."""

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
    """Layers of one block that read the same tensor, and the Hessian of that tensor.

    `hessian` is 2 X X^T over all tokens X, float32, shape (in, in) (arXiv:2210.17323, Section 3.2).
    """

    layers: tuple[str, ...]
    hessian: torch.Tensor


def input_hessians(decoder: Decoder, index: int, layers: Layers) -> list[SharedInput]:
    """Run the texts through a loaded block and return the Hessians of its linear layers' inputs.

    Layers that are never called are left out.

    Raises:
        SpecError: an input or a Hessian is not finite.
    """
    import torch

    sums: dict[str, torch.Tensor] = {}
    leaders: dict[str, str] = {}
    text = _OneText()  # one per thread

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
    """Distinct layer inputs of one text, and for each layer the first layer with the same input."""

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
        """Return inputs and leaders, and reset both for the next text."""
        found = self._inputs, self._leaders
        self._last, self._inputs, self._leaders = None, {}, {}
        return found


def _add_products(total: torch.Tensor, rows: torch.Tensor, threads: RowThreads | None) -> None:
    """Add 2 X X^T of `rows` (tokens, in) to `total` (in, in); each thread owns rows of `total`."""
    import torch

    def add(piece: slice) -> None:
        with torch.inference_mode():
            total[piece].addmm_(rows[:, piece].T, rows, alpha=2)

    if threads is None:
        add(slice(0, len(total)))
    else:
        threads.map(add, threads.pieces(len(total)))


def output_energy(weight: torch.Tensor, hessian: torch.Tensor | None) -> float:
    """Return tr(W H W^T) of W (out, in) and H (in, in): 2 ||W X||^2, or ||W||^2 without H."""
    import torch

    product = weight if hessian is None else weight @ hessian
    return (product * weight).sum(dtype=torch.float64).item()


def relative_error(
    weight: torch.Tensor, rounded: torch.Tensor, hessian: torch.Tensor | None
) -> float:
    """Return ||W X - W_q X||^2 / ||W X||^2 of weights (out, in); 0 if both are zero."""
    whole = output_energy(weight, hessian)
    return output_energy(weight - rounded, hessian) / whole if whole else 0.0
