"""Vectors of all weights of an adapter, there and back, and what engines make of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from essa.errors import AdapterError
from essa.parametrize.adapter import LoraAdapter
from essa.parametrize.weights import Factors, WeightCodec


@pytest.fixture
def start(tiny_adapter) -> LoraAdapter:
    return tiny_adapter(strength=0.01)


@pytest.fixture
def codec(start) -> WeightCodec:
    return WeightCodec(start)


def weights(adapter: LoraAdapter) -> dict[str, Factors]:
    return {one.name: (one.lora_A, one.lora_B) for one in adapter.modules}


def test_zeros_are_the_warm_start(codec, start):
    assert codec.dimension == sum(one.lora_A.size + one.lora_B.size for one in start.modules)
    for found, given in zip(
        codec.export(np.zeros(codec.dimension)).modules, start.modules, strict=True
    ):
        np.testing.assert_array_equal(found.lora_A, given.lora_A)
        np.testing.assert_array_equal(found.lora_B, given.lora_B)
        assert (found.name, found.scaling) == (given.name, given.scaling)
    np.testing.assert_array_equal(codec.vector(weights(start)), 0)


def test_a_trained_adapter_comes_back_bit_by_bit(codec, tiny_adapter):
    trained = tiny_adapter(seed=5, strength=0.02)
    back = codec.export(codec.vector(weights(trained)))
    for found, given in zip(back.modules, trained.modules, strict=True):
        np.testing.assert_array_equal(found.lora_A, given.lora_A)
        np.testing.assert_array_equal(found.lora_B, given.lora_B)


def test_one_unit_is_the_root_mean_square_of_a_factors_weights(codec, start):
    first = start.modules[0]
    vector = np.zeros(codec.dimension)
    vector[0] = 1.0
    vector[first.lora_A.size] = -2.0
    moved = codec.export(vector).modules[0]
    change_A, change_B = moved.lora_A - first.lora_A, moved.lora_B - first.lora_B
    assert change_A[0, 0] == pytest.approx(np.sqrt(np.mean(first.lora_A**2)), rel=1e-5)
    assert change_B[0, 0] == pytest.approx(-2 * np.sqrt(np.mean(first.lora_B**2)), rel=1e-5)
    assert np.count_nonzero(change_A) == np.count_nonzero(change_B) == 1


def test_engines_add_what_the_adapter_adds(codec):
    rng = np.random.default_rng(0)
    vector = 0.5 * rng.normal(size=codec.dimension)
    basis, adapter = codec.engine_basis(vector), codec.export(vector)
    assert basis.width == sum(one.rank for one in adapter.modules)
    for held, module in zip(basis.modules, adapter.modules, strict=True):
        x = rng.normal(size=(3, module.lora_A.shape[1]))
        wanted = module.scaling * x @ module.lora_A.T @ module.lora_B.T
        assert held.core is None
        # The candidate of ones.
        found = (x @ held.shrink.T * np.ones(held.rank)) @ held.expand.T
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-7)


def test_digests_tell_vectors_and_warm_starts_apart(codec, tiny_adapter):
    vector = np.zeros(codec.dimension)
    same = codec.engine_basis(vector).digest
    assert codec.engine_basis(vector.copy()).digest == same
    vector[-1] = 1e-12
    assert codec.engine_basis(vector).digest != same
    other = WeightCodec(tiny_adapter(seed=1, strength=0.01))
    assert other.digest != codec.digest
    assert other.engine_basis(np.zeros(other.dimension)).digest != same


def test_what_is_no_vector_of_this_adapter_is_refused(codec, start, tiny_adapter):
    with pytest.raises(AdapterError, match="shape"):
        codec.export(np.zeros(codec.dimension + 1))
    broken = np.zeros(codec.dimension)
    broken[3] = np.nan
    with pytest.raises(AdapterError):
        codec.export(broken)
    lacking = weights(start)
    name = start.modules[2].name
    del lacking[name]
    with pytest.raises(AdapterError, match=f"lacks module {name}"):
        codec.vector(lacking)
    with pytest.raises(AdapterError, match="shapes"):
        codec.vector(weights(tiny_adapter(rank=2)))


def test_a_factor_of_zeros_has_no_scale(start):
    module = start.modules[0]
    untrained = replace(module, lora_B=np.zeros_like(module.lora_B))
    with pytest.raises(AdapterError):
        WeightCodec(replace(start, modules=(untrained, *start.modules[1:])))
