from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from essa.errors import AdapterError
from essa.parametrize.adapter import LoraAdapter, LoraModule, read_adapter, write_adapter
from essa.parametrize.basis import AdapterBasis
from essa.parametrize.codec import SingularValueCodec
from tests.narrowing import present

TARGETS = ("factors", "product")


def _adapter(ranks: list[int], rng: np.random.Generator, scaling: float = 1.7) -> LoraAdapter:
    """Modules of different shapes and ranks; B is a hundred times smaller than A."""
    modules = []
    for index, rank in enumerate(ranks):
        wide_in, wide_out = (int(n) for n in rng.integers(rank, 40, size=2))
        lora_A = rng.normal(size=(rank, wide_in)).astype(np.float32)
        lora_B = (rng.normal(size=(wide_out, rank)) / 100).astype(np.float32)
        modules.append(LoraModule(f"layers.{index}.q_proj", lora_A, lora_B, scaling + index))
    config = {"peft_type": "LORA", "r": max(ranks), "lora_alpha": 8, "target_modules": ["q_proj"]}
    return LoraAdapter(tuple(modules), config)


def _engine_output(module, scales, x):
    """The formula of essa/parametrize/engine_basis.py, in float32 as engines run it."""
    hidden = (x @ module.shrink.T) * scales[: module.rank]
    if module.core is not None:
        hidden = (hidden @ module.core.T) * scales[module.rank :]
    return hidden @ module.expand.T


@settings(max_examples=30, deadline=None)
@given(
    ranks=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    target=st.sampled_from(TARGETS),
    sigma=st.sampled_from([0.0, 0.3, 8.0]),
    seed=st.integers(0, 2**32 - 1),
)
def test_engines_and_exported_adapters_compute_the_same(ranks, target, sigma, seed):
    rng = np.random.default_rng(seed)
    codec = SingularValueCodec(AdapterBasis.decompose(_adapter(ranks, rng), target, alpha=1.0))
    vector = sigma * rng.normal(size=codec.dimension)
    (row,) = codec.scales(vector[None])
    basis = codec.engine_basis()
    starts = basis.offsets()
    assert row.shape == (basis.width,)
    assert row.dtype == np.float32
    for module, exported in zip(basis.modules, codec.export(vector).modules, strict=True):
        x = rng.normal(size=(6, module.shrink.shape[1])).astype(np.float32)
        start = starts[module.name]
        ours = _engine_output(module, row[start : start + module.scales], x)
        theirs = exported.scaling * x @ exported.lora_A.T @ exported.lora_B.T
        scale = np.abs(theirs).max()
        assert np.abs(ours - theirs).max() <= 1e-4 * scale
        assert exported.name == module.name
        assert exported.rank == module.rank


@settings(max_examples=20, deadline=None)
@given(
    ranks=st.lists(st.integers(1, 9), min_size=1, max_size=3),
    target=st.sampled_from(TARGETS),
    seed=st.integers(0, 2**32 - 1),
)
def test_zeros_rebuild_the_warm_start_to_float32(ranks, target, seed):
    adapter = _adapter(ranks, np.random.default_rng(seed))
    codec = SingularValueCodec(AdapterBasis.decompose(adapter, target, alpha=1.0))
    exported = codec.export(np.zeros(codec.dimension))
    for before, after in zip(adapter.modules, exported.modules, strict=True):
        delta = before.lora_B @ before.lora_A
        assert np.abs(after.lora_B @ after.lora_A - delta).max() <= 1e-5 * np.abs(delta).max()
        assert after.scaling == before.scaling
    if target == "factors":
        assert exported.modules[0].lora_A == pytest.approx(adapter.modules[0].lora_A, abs=1e-5)


def test_vector_is_one_slice_per_module_a_before_b(tiny_adapter):
    codec = SingularValueCodec(AdapterBasis.decompose(tiny_adapter(rank=4), "factors", alpha=0.5))
    assert codec.dimension == 8 * 2 * 2
    rows = codec.scales(np.vstack([np.zeros(codec.dimension), np.eye(codec.dimension)]))
    moved = [np.flatnonzero(row != rows[0]).tolist() for row in rows[1:]]
    # Module m owns columns 8 m .. 8 m + 7: four of A, then four of B; the first two of each move.
    expected = [[8 * m + part + i] for m in range(8) for part in (0, 4) for i in range(2)]
    assert moved == expected


@pytest.mark.parametrize("target", TARGETS)
def test_an_offset_of_one_adds_the_factors_mean_singular_value(tiny_adapter, target):
    adapter = tiny_adapter(rank=4)
    codec = SingularValueCodec(AdapterBasis.decompose(adapter, target, alpha=1.0))
    start, moved = codec.scales(np.vstack([np.zeros(codec.dimension), np.ones(codec.dimension)]))
    module = adapter.modules[0]
    matrices = [module.lora_A, module.lora_B]
    if target == "product":
        matrices = [module.lora_B @ module.lora_A]
    for part, matrix in enumerate(matrices):
        values = np.linalg.svd(matrix.astype(np.float64), compute_uv=False)[:4]
        columns = slice(4 * part, 4 * part + 4)
        assert start[columns] == pytest.approx(values, rel=1e-5)
        assert (moved - start)[columns] == pytest.approx(np.full(4, values.mean()), rel=1e-4)


def test_unselected_singular_values_never_move(tiny_adapter):
    codec = SingularValueCodec(AdapterBasis.decompose(tiny_adapter(rank=4), "product", alpha=0.5))
    vectors = np.random.default_rng(0).normal(size=(5, codec.dimension))
    rows = codec.scales(np.vstack([np.zeros(codec.dimension), vectors]))
    changed = (rows[1:] != rows[0]).all(axis=0).reshape(-1, 4)
    assert (changed == [True, True, False, False]).all()


@pytest.mark.parametrize("target", TARGETS)
def test_exported_adapters_can_be_read_searched_and_run_again(tiny_adapter, tmp_path, target):
    adapter = tiny_adapter(rank=4)
    codec = SingularValueCodec(AdapterBasis.decompose(adapter, target, alpha=1.0))
    vector = np.random.default_rng(0).normal(size=codec.dimension)
    exported = codec.export(vector)
    assert exported.config == adapter.config
    write_adapter(exported, tmp_path / "a")
    again = SingularValueCodec(AdapterBasis.decompose(read_adapter(tmp_path / "a"), target, 1.0))
    assert again.dimension == codec.dimension
    first = again.export(np.zeros(codec.dimension)).modules[0]
    second = exported.modules[0]
    assert first.lora_B @ first.lora_A == pytest.approx(second.lora_B @ second.lora_A, abs=1e-4)


def test_vectors_are_not_modified(tiny_adapter):
    codec = SingularValueCodec(AdapterBasis.decompose(tiny_adapter(), "factors", alpha=1.0))
    vectors = np.random.default_rng(0).normal(size=(3, codec.dimension))
    before = vectors.copy()
    codec.scales(vectors)
    codec.export(vectors[0])
    assert np.array_equal(vectors, before)


def test_engine_basis_carries_the_digest(tiny_adapter):
    basis = AdapterBasis.decompose(tiny_adapter(), "factors", alpha=1.0)
    engine_basis = SingularValueCodec(basis).engine_basis()
    assert engine_basis.digest == basis.digest
    assert all(
        present(m.core).shape == (4, 4) and m.expand.dtype == np.float32
        for m in engine_basis.modules
    )


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (np.zeros((2, 63)), r"\(2, 63\); expected \(N, 64\)"),
        (np.zeros(64), r"\(64,\)"),
        (np.vstack([np.zeros(64), np.full(64, np.nan)]), "candidate 1"),
        (np.full((1, 64), np.inf), "candidate 0"),
    ],
)
def test_unusable_vectors_are_refused(tiny_adapter, vectors, message):
    codec = SingularValueCodec(AdapterBasis.decompose(tiny_adapter(rank=4), "factors", 1.0))
    with pytest.raises(AdapterError, match=message):
        codec.scales(vectors)


def test_export_refuses_more_than_one_vector(tiny_adapter):
    codec = SingularValueCodec(AdapterBasis.decompose(tiny_adapter(rank=4), "factors", 1.0))
    with pytest.raises(AdapterError, match=r"expected \(64,\)"):
        codec.export(np.zeros((1, 64)))


def test_a_factor_without_singular_values_is_refused(tiny_adapter):
    basis = AdapterBasis.decompose(tiny_adapter(), "factors", 1.0)
    module = basis.modules[0]
    dead = replace(module, second=present(module.second)._replace(values=np.zeros(4)))
    with pytest.raises(AdapterError, match=r"second.*warm_start\.type"):
        SingularValueCodec(replace(basis, modules=(dead, *basis.modules[1:])))
