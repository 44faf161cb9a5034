"""Rows in threads of their own give the gradients of the whole batch."""

from __future__ import annotations

import threading

import pytest

from tests.narrowing import present

pytest.importorskip("torch")

import torch

from workers.machine.row_threads import RowThreads


def layer(seed: int = 0):
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))


def gradients(threads: int, rows: int = 7):
    model, inputs = layer(), torch.linspace(-1, 1, rows * 6).reshape(rows, 6)
    weights = list(model.parameters())

    def part(piece: slice):
        output = model(inputs[piece])
        return output.square().sum(-1), output.detach().sum(-1)

    with RowThreads(threads, rows) as apart:
        losses, sums = apart.run(part, rows, weights)
        assert not sums.requires_grad
        (losses * torch.arange(rows)).mean().backward()
    return losses.detach(), sums, [present(weight.grad) for weight in weights]


@pytest.mark.parametrize("threads", [2, 3, 7, 20])
def test_gradients_and_values_are_those_of_the_whole_batch(threads: int) -> None:
    losses, sums, expected = gradients(1)
    own_losses, own_sums, own = gradients(threads)
    torch.testing.assert_close(own_losses, losses)
    torch.testing.assert_close(own_sums, sums)
    torch.testing.assert_close(own, expected)


def test_the_same_rows_and_threads_give_the_same_bits() -> None:
    first, second = gradients(3), gradients(3)
    assert all(torch.equal(a, b) for a, b in zip(first[2], second[2], strict=True))


def test_parts_run_at_the_same_time_each_with_its_share_of_the_threads() -> None:
    together = threading.Barrier(2, timeout=60)
    seen = []

    def part(piece: slice):
        together.wait()
        seen.append((piece.start, piece.stop, torch.get_num_threads()))
        return (torch.zeros(piece.stop - piece.start),)

    before = torch.get_num_threads()
    with RowThreads(4, rows=2) as apart, torch.no_grad():
        apart.run(part, 2, [])
    assert sorted(seen) == [(0, 1, 2), (1, 2, 2)]
    assert torch.get_num_threads() == before


def test_weights_that_a_row_does_not_use_get_no_gradient_from_it() -> None:
    used, unused = (torch.ones(1, requires_grad=True) for _ in range(2))
    with RowThreads(2, rows=2) as apart:
        (values,) = apart.run(
            lambda rows: (used * torch.ones(1) if rows.start else (used + unused),),
            2,
            [used, unused],
        )
        values.sum().backward()
    assert present(used.grad).item() == 2
    assert present(unused.grad).item() == 1


def test_an_error_in_a_part_reaches_the_caller() -> None:
    def part(piece: slice):
        if piece.start:
            raise ValueError("row 1")
        return (torch.zeros(1),)

    with RowThreads(2, rows=2) as apart, pytest.raises(ValueError, match="row 1"):
        apart.run(part, 2, [torch.ones(1, requires_grad=True)])
