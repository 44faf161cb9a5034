"""SVD-GRPO: of an adapter's factors only the singular values are trained."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("peft")

import torch

from essa.parametrize.adapter import write_adapter
from essa.spec.grpo import GrpoSpec
from workers.methods.trl.model import load_trainable
from workers.methods.trl.singular_values import (
    adapter_layers,
    adapter_modules,
    train_singular_values,
)


@pytest.fixture
def model(tiny_model, tiny_adapter, tmp_path):
    write_adapter(tiny_adapter(strength=0.5), tmp_path)
    return load_trainable(tiny_model("llama"), tmp_path, GrpoSpec(precision="fp32"), 32)


def trained(model) -> list[torch.nn.Parameter]:
    return [one for one in model.parameters() if one.requires_grad]


def test_the_factors_stay_what_they_are(model):
    before = [linear.weight.detach().clone() for linear in adapter_layers(model)]
    ids = torch.arange(3, 15)[None]
    with torch.no_grad():
        answered = model(ids).logits
        train_singular_values(model)
        again = model(ids).logits
    for linear, old in zip(adapter_layers(model), before, strict=True):
        torch.testing.assert_close(linear.weight, old, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(again, answered, rtol=1e-4, atol=1e-4)


def test_nothing_but_singular_values_is_trained(model):
    rank = next(adapter_layers(model)).weight.shape[0]
    factors = list(adapter_modules(model))
    train_singular_values(model)
    assert [one.shape for one in trained(model)] == [(rank,)] * (2 * len(factors))
    assert [name for name, *_ in adapter_modules(model)] == [name for name, *_ in factors]


def test_singular_vectors_stay_while_values_move(model):
    before = {
        name: (lora_A.weight.detach().clone(), lora_B.weight.detach().clone())
        for name, lora_A, lora_B in adapter_modules(model)
    }
    train_singular_values(model)
    optimizer = torch.optim.SGD(trained(model), lr=0.5)
    model(torch.arange(3, 15)[None], labels=torch.arange(3, 15)[None]).loss.backward()
    optimizer.step()
    for name, lora_A, lora_B in adapter_modules(model):
        for linear, old in zip((lora_A, lora_B), before[name], strict=True):
            new = linear.weight.detach()
            assert float((new - old).norm()) > 1e-5
            left, values, right = torch.linalg.svd(old, full_matrices=False)
            inside = left.T @ new @ right.T
            # All of the new factor lies in the old singular vectors, and couples none of them.
            torch.testing.assert_close(left @ inside @ right, new, rtol=1e-4, atol=1e-5)
            coupled = inside - torch.diag(torch.diag(inside))
            assert float(coupled.abs().max()) < 1e-4 * float(values.max())


def test_a_factor_that_is_put_in_gives_its_values(model):
    """`right_inverse`: what a checkpoint of plain factors would be read by."""
    train_singular_values(model)
    linear: Any = next(adapter_layers(model))
    values = linear.parametrizations.weight.original.detach().clone()
    with torch.no_grad():
        linear.weight = 2 * linear.weight
    torch.testing.assert_close(linear.parametrizations.weight.original.detach(), 2 * values)
