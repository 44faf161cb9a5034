"""Rows of a batch split into parts, each computed alone in a thread of its own.

A product that several threads share ends when the last thread is done, and a training step has
thousands of products. If another process competes for a core, the thread on that core is late at
every product, and the others wait. Rows of a batch are independent until their gradients are added
up, so threads meet once per step. Each thread runs the same model on its rows, forward and
backward. `benchmarks/company.py` measures the cost of competing processes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import torch

from reward.machine import usable_cores

Part = Callable[[slice], tuple[torch.Tensor, ...]]
"""Function from a range of rows to tensors whose first axis is these rows."""


def keep_to_quota() -> None:
    """Limit torch to as many threads as the container's quota has cores.

    torch counts the cores of the affinity mask. More threads than the quota has cores would use up
    the quota at the start of each period, and all of them would stall for the rest of it.
    """
    cores = len(usable_cores())
    if torch.get_num_threads() > cores:
        torch.set_num_threads(cores)


class RowThreads:
    """A context in which torch computes with the threads of one part.

    The parts, and so the results, depend only on the number of rows and the number of threads.

    Args:
        threads: number of cores to use.
        rows: largest number of rows in a batch.
    """

    def __init__(self, threads: int, rows: int) -> None:
        self.parts = max(1, min(threads, rows))
        self._each = max(1, threads // self.parts)
        self._pool = ThreadPoolExecutor(self.parts, thread_name_prefix="rows")

    def __enter__(self) -> RowThreads:
        self._before = torch.get_num_threads()
        torch.set_num_threads(self._each)
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
        torch.set_num_threads(self._before)

    def run(
        self, part: Part, rows: int, weights: Sequence[torch.Tensor]
    ) -> tuple[torch.Tensor, ...]:
        """Compute the tensors of all rows.

        Args:
            part: function that is called for all parts at the same time.
            rows: number of rows.
            weights: all tensors with gradients that the result depends on.
        """
        slices = self.pieces(rows)
        if len(slices) < 2:
            return part(slice(0, rows))
        if torch.is_grad_enabled():
            return _Apart.apply(self, part, slices, *weights)
        found = self.map(lambda piece: _without_grad(part, piece), slices)
        return tuple(torch.cat(pieces) for pieces in zip(*found, strict=True))

    @contextmanager
    def together(self) -> Iterator[None]:
        """Let all threads share one product, for work that rows cannot split: a factorisation."""
        torch.set_num_threads(self._each * self.parts)
        try:
            yield
        finally:
            torch.set_num_threads(self._each)

    def pieces(self, rows: int, least: int = 1) -> list[slice]:
        """Return one range of rows for each part, each of at least `least` rows if possible."""
        parts = max(1, min(self.parts, rows // least))
        cuts = [rows * place // parts for place in range(parts + 1)]
        return [slice(a, b) for a, b in pairwise(cuts) if a < b]

    def map(self, function: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        """Return the results of all items, in order; a thread takes one item at a time."""

        def with_threads(item: Any) -> Any:
            # OpenMP keeps this number per thread, and a new thread starts with the default.
            if torch.get_num_threads() != self._each:
                torch.set_num_threads(self._each)
            return function(item)

        return list(self._pool.map(with_threads, items))


class _Apart(torch.autograd.Function):
    """Joins graphs that were built separately; the backward pass has a thread for each."""

    @staticmethod
    def forward(
        ctx: Any, threads: RowThreads, part: Part, slices: Sequence[slice], *weights: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        ctx.threads, ctx.weights = threads, weights
        ctx.graphs = threads.map(lambda piece: _with_grad(part, piece), slices)
        ctx.rows = [piece.stop - piece.start for piece in slices]
        joined = tuple(
            torch.cat([one.detach() for one in ones]) for ones in zip(*ctx.graphs, strict=True)
        )
        fixed = [
            whole for whole, one in zip(joined, ctx.graphs[0], strict=True) if not one.requires_grad
        ]
        ctx.mark_non_differentiable(*fixed)
        return joined

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Any, ...]:
        pieces = list(zip(*(gradient.split(ctx.rows) for gradient in gradients), strict=True))
        # The graphs are freed after their last use, as torch's own are.
        graphs, ctx.graphs = ctx.graphs, None

        def back(place: int) -> Sequence[torch.Tensor | None]:
            outputs, given = zip(
                *(
                    (output, gradient)
                    for output, gradient in zip(graphs[place], pieces[place], strict=True)
                    if output.requires_grad
                ),
                strict=True,
            )
            return torch.autograd.grad(outputs, ctx.weights, given, allow_unused=True)

        found = ctx.threads.map(back, range(len(graphs)))
        return (None, None, None, *(_sum(ones) for ones in zip(*found, strict=True)))


def _sum(ones: Sequence[torch.Tensor | None]) -> torch.Tensor | None:
    """Sum in order, since floating-point sums depend on the order."""
    total = None
    for one in ones:
        if one is not None:
            total = one if total is None else total + one
    return total


def _with_grad(part: Part, piece: slice) -> tuple[torch.Tensor, ...]:
    with torch.enable_grad():  # a per-thread setting
        return part(piece)


def _without_grad(part: Part, piece: slice) -> tuple[torch.Tensor, ...]:
    with torch.no_grad():
        return part(piece)
