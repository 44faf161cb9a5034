"""Optimisers by their names: each goes downhill, and goes on from a checkpoint undisturbed."""

from __future__ import annotations

import sys
from typing import get_args

import pytest

pytest.importorskip("torch")
pytest.importorskip("pytorch_optimizer")

import torch

from essa.errors import SpecError
from essa.spec.grpo import OptimizerName
from workers.methods.trl.optimizers import make_optimizer

NAMES = get_args(OptimizerName)
SHAPES = ((8, 640), (640, 8), (12,))
"""Factors of an adapter, large enough that 8-bit optimisers keep 8 bits of them, and the singular
values of one."""


def parameters() -> list[torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]


def make(name: str, given: list[torch.nn.Parameter], **settings: float) -> torch.optim.Optimizer:
    return make_optimizer(name, given, **({"learning_rate": 1e-3, "weight_decay": 0.0} | settings))


def loss_of(given: list[torch.nn.Parameter]) -> torch.Tensor:
    return torch.stack([((one - 0.3) ** 2).sum() for one in given]).sum()


def take_steps(optimizer, given: list[torch.nn.Parameter], count: int) -> None:
    for _ in range(count):
        optimizer.zero_grad()
        loss_of(given).backward()
        optimizer.step()


@pytest.mark.parametrize("name", NAMES)
def test_a_step_goes_downhill_in_every_parameter(name):
    given = parameters()
    before = [one.detach().clone() for one in given]
    losses = [float(((one - 0.3) ** 2).sum()) for one in before]
    take_steps(make(name, given), given, 1)
    for one, old, loss in zip(given, before, losses, strict=True):
        assert not torch.equal(one, old)
        assert float(((one.detach() - 0.3) ** 2).sum()) < loss


@pytest.mark.parametrize("name", NAMES)
def test_three_steps_are_two_and_a_resumed_one(name, tmp_path):
    whole = parameters()
    take_steps(make(name, whole), whole, 3)

    first = parameters()
    optimizer = make(name, first)
    take_steps(optimizer, first, 2)
    torch.save(optimizer.state_dict(), tmp_path / "optimizer.pt")
    second = [torch.nn.Parameter(one.detach().clone()) for one in first]
    resumed = make(name, second)
    # As transformers reads it: classes that it was not told of are refused.
    resumed.load_state_dict(torch.load(tmp_path / "optimizer.pt", weights_only=True))
    take_steps(resumed, second, 1)
    for one, other in zip(whole, second, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("name", NAMES)
def test_the_learning_rate_is_that_of_the_job(name):
    moved = []
    for rate in (1e-4, 1e-3):
        given = parameters()
        before = [one.detach().clone() for one in given]
        take_steps(make(name, given, learning_rate=rate), given, 1)
        moved.append(
            sum(float((a.detach() - b).norm()) for a, b in zip(given, before, strict=True))
        )
    assert moved[1] == pytest.approx(10 * moved[0], rel=0.2)


def test_weight_decay_pulls_towards_zero():
    kept, decayed = parameters(), parameters()
    take_steps(make("adamw", kept), kept, 1)
    take_steps(make("adamw", decayed, weight_decay=10.0), decayed, 1)
    assert float(decayed[0].detach().norm()) < float(kept[0].detach().norm())


def test_apollo_has_adams_step_size_in_every_channel_and_the_direction_of_the_gradient():
    apollo, adam = parameters(), parameters()
    take_steps(make("apollo", apollo), apollo, 1)
    take_steps(make("adamw", adam), adam, 1)
    start = parameters()[0].detach()
    moved, wanted = apollo[0].detach() - start, adam[0].detach() - start
    # Channels lie along the longer side of a factor, here columns.
    torch.testing.assert_close(moved.norm(dim=0), wanted.norm(dim=0), rtol=1e-3, atol=1e-7)
    aligned = torch.nn.functional.cosine_similarity(moved, 0.3 - start, dim=0)
    torch.testing.assert_close(aligned, torch.ones_like(aligned), rtol=1e-4, atol=1e-4)


def test_apollo_mini_follows_the_whole_gradient_with_a_step_like_adams():
    mini, adam = parameters(), parameters()
    take_steps(make("apollo_mini", mini), mini, 1)
    take_steps(make("adamw", adam), adam, 1)
    for place in (0, 1):
        start = parameters()[place].detach()
        moved = mini[place].detach() - start
        aligned = torch.nn.functional.cosine_similarity(moved.ravel(), (0.3 - start).ravel(), dim=0)
        assert float(aligned) > 0.999
        ratio = moved.norm() / (adam[place].detach() - start).norm()
        assert 0.3 < float(ratio) < 3


def test_apollos_updates_grow_slowly():
    given = [torch.nn.Parameter(torch.zeros(4, 16))]
    optimizer = make("apollo", given)
    norms = []
    for size in (1.0, 100.0, 100.0):
        before = given[0].detach().clone()
        given[0].grad = torch.full((4, 16), size)
        optimizer.step()
        norms.append(float((given[0].detach() - before).norm()))
    assert norms[1] <= 1.0101 * norms[0]
    assert norms[2] <= 1.0101 * norms[1]


@pytest.mark.parametrize(
    ("name", "module", "package"),
    [
        ("lion", "pytorch_optimizer", "pytorch-optimizer"),
        ("adamw_8bit", "bitsandbytes.optim", "bitsandbytes"),
    ],
)
def test_a_missing_library_is_named(name, module, package, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(SpecError, match=package) as caught:
        make(name, parameters())
    assert caught.value.detail["field"] == "method.optimizer"
