"""Rows of a batch, each part of them in a thread of its own that computes alone.

A product that several threads share ends when the last of them is done, and a training step has
thousands of products. Where another process wants a core too, the thread on it is behind at every
one of them, and the others wait. Rows of a batch do not need each other until their gradients are
added up, so threads meet once a step. Each of them runs the same model on its rows, forward and
backward. `benchmarks/company.py` measures what company costs.
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
"""Computes tensors of some rows; their first axis is the rows."""


def keep_to_quota() -> None:
    """Let torch start no more threads than the container's quota has cores.

    Its own number is that of the affinity: more threads than the quota has cores use it up at the
    start of each period, and all of them stand still for the rest of it.
    """
    cores = len(usable_cores())
    if torch.get_num_threads() > cores:
        torch.set_num_threads(cores)


class RowThreads:
    """A context in which torch computes with the threads of one part.

    Which rows are a part follows from the number of rows and threads alone, and so do the results.

    Args:
        threads: cores to use.
        rows: most rows of a batch.
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
            part: called once for every part, at the same time.
            rows: how many there are.
            weights: what gradients are wanted of; the result depends on nothing else that has any.
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
        """All threads at one product: for what is no sum over rows, such as a factorisation."""
        torch.set_num_threads(self._each * self.parts)
        try:
            yield
        finally:
            torch.set_num_threads(self._each)

    def pieces(self, rows: int, least: int = 1) -> list[slice]:
        """One range of rows for each part, of so many rows at least where there are as many."""
        parts = max(1, min(self.parts, rows // least))
        cuts = [rows * place // parts for place in range(parts + 1)]
        return [slice(a, b) for a, b in pairwise(cuts) if a < b]

    def map(self, function: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        """Results of all items, in order, one item a thread at a time."""

        def with_threads(item: Any) -> Any:
            # OpenMP keeps this number for each thread, and a new one starts with its own.
            if torch.get_num_threads() != self._each:
                torch.set_num_threads(self._each)
            return function(item)

        return list(self._pool.map(with_threads, items))


class _Apart(torch.autograd.Function):
    """Joins graphs that were made apart, and goes back through each in a thread of its own."""

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
        # The graphs go with the last use of them, as torch's own do.
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
    """In order: floating-point sums depend on it."""
    total = None
    for one in ones:
        if one is not None:
            total = one if total is None else total + one
    return total


def _with_grad(part: Part, piece: slice) -> tuple[torch.Tensor, ...]:
    with torch.enable_grad():  # a setting of each thread
        return part(piece)


def _without_grad(part: Part, piece: slice) -> tuple[torch.Tensor, ...]:
    with torch.no_grad():
        return part(piece)
