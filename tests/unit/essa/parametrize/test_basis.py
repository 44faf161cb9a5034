from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from essa.errors import (
    AdapterError,
    CheckpointCorruptError,
    CheckpointIncompatibleError,
    SpecError,
)
from essa.parametrize.basis import AdapterBasis
from essa.parametrize.singular import product_svd, thin_svd
from tests.narrowing import present


def test_factors_are_the_thin_svd_of_a_and_b_separately(tiny_adapter):
    adapter = tiny_adapter(rank=4)
    basis = AdapterBasis.decompose(adapter, "factors", alpha=0.5)
    for module, svd in zip(adapter.modules, basis.modules, strict=True):
        assert svd.first.left.shape == (4, 4)
        second = present(svd.second)
        assert second.right.shape == (4, 4)
        assert svd.first.rebuild(svd.first.values) == pytest.approx(module.lora_A, abs=1e-6)
        assert second.rebuild(second.values) == pytest.approx(module.lora_B, abs=1e-6)
        assert svd.searched == 2


def test_product_svd_equals_the_svd_of_the_full_matrix():
    rng = np.random.default_rng(0)
    lora_A, lora_B = rng.normal(size=(5, 30)), rng.normal(size=(20, 5))
    svd = product_svd(lora_B, lora_A)
    full = thin_svd(lora_B @ lora_A)
    assert svd.values == pytest.approx(full.values[:5], rel=1e-10)
    assert svd.left == pytest.approx(full.left[:, :5], abs=1e-6)
    assert svd.right == pytest.approx(full.right[:5], abs=1e-6)


def test_signs_are_fixed_whatever_the_library_returns(monkeypatch):
    matrix = np.random.default_rng(0).normal(size=(4, 9))
    expected = thin_svd(matrix)
    library = np.linalg.svd

    def flipped(*args, **kwargs):
        left, values, right = library(*args, **kwargs)
        signs = np.array([1, -1, -1, 1])
        return left * signs, values, right * signs[:, None]

    monkeypatch.setattr(np.linalg, "svd", flipped)
    again = thin_svd(matrix)
    assert np.array_equal(again.left, expected.left)
    assert np.array_equal(again.right, expected.right)
    assert again.rebuild(again.values) == pytest.approx(matrix, abs=1e-6)


@pytest.mark.parametrize("target", ["factors", "product"])
def test_stored_bases_load_with_the_same_digest(tiny_adapter, tmp_path, target):
    basis = AdapterBasis.decompose(tiny_adapter(), target, alpha=1.0)
    basis.save(tmp_path / "basis.safetensors")
    loaded = AdapterBasis.load(tmp_path / "basis.safetensors", expected_digest=basis.digest)
    assert loaded.digest == basis.digest
    assert loaded.config == basis.config
    for ours, theirs in zip(loaded.modules, basis.modules, strict=True):
        for (_, a), (_, b) in zip(ours.parts(), theirs.parts(), strict=True):
            assert all(
                np.array_equal(x, y) and x.dtype == y.dtype for x, y in zip(a, b, strict=True)
            )
    assert [p.name for p in tmp_path.iterdir()] == ["basis.safetensors"]


def test_digest_tells_adapters_targets_and_alphas_apart(tiny_adapter):
    settings = [(0, "factors", 1.0), (1, "factors", 1.0), (0, "product", 1.0), (0, "factors", 0.5)]
    digests = [
        AdapterBasis.decompose(tiny_adapter(seed=seed), target, alpha).digest
        for seed, target, alpha in settings
    ]
    assert len(set(digests)) == 4
    again = AdapterBasis.decompose(tiny_adapter(seed=0), "factors", 1.0).digest
    assert again == digests[0]


def test_scaling_is_part_of_the_digest(tiny_adapter):
    adapter = tiny_adapter()
    louder = replace(adapter, modules=tuple(replace(m, scaling=9.0) for m in adapter.modules))
    assert (
        AdapterBasis.decompose(adapter, "factors", 1.0).digest
        != AdapterBasis.decompose(louder, "factors", 1.0).digest
    )


def test_resume_refuses_other_bases(tiny_adapter, tmp_path):
    basis = AdapterBasis.decompose(tiny_adapter(seed=0), "factors", 1.0)
    other = AdapterBasis.decompose(tiny_adapter(seed=1), "factors", 1.0)
    basis.save(tmp_path / "basis")
    with pytest.raises(CheckpointIncompatibleError, match=other.digest):
        AdapterBasis.load(tmp_path / "basis", expected_digest=other.digest)


def test_a_changed_number_in_the_file_is_corruption(tiny_adapter, tmp_path):
    path = tmp_path / "basis"
    AdapterBasis.decompose(tiny_adapter(), "factors", 1.0).save(path)
    with safe_open(path, framework="np") as file:
        names, metadata = list(file.keys()), file.metadata()
        tensors = {name: file.get_tensor(name).copy() for name in names}
    tensors[names[0]].flat[0] += 1e-3
    save_file(tensors, path, metadata=metadata)
    with pytest.raises(CheckpointCorruptError, match="checksum"):
        AdapterBasis.load(path)


def test_unreadable_files_are_corruption(tiny_adapter, tmp_path):
    path = tmp_path / "basis"
    with pytest.raises(CheckpointCorruptError, match="unreadable"):
        AdapterBasis.load(path)
    AdapterBasis.decompose(tiny_adapter(), "factors", 1.0).save(path)
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(CheckpointCorruptError, match="unreadable"):
        AdapterBasis.load(path)
    save_file({"x": np.zeros(3, np.float32)}, path)
    with pytest.raises(CheckpointCorruptError, match="not a stored basis"):
        AdapterBasis.load(path)


def test_an_alpha_that_selects_nothing_is_refused(tiny_adapter):
    with pytest.raises(AdapterError, match=r"alpha 0\.2 of rank 4.*0\.25.*lora\.rank"):
        AdapterBasis.decompose(tiny_adapter(rank=4), "factors", alpha=0.2)


def test_an_unknown_target_is_refused(tiny_adapter):
    with pytest.raises(SpecError, match="'both'"):
        AdapterBasis.decompose(tiny_adapter(), "both", alpha=1.0)


def test_a_zero_adapter_is_refused(tiny_adapter):
    adapter = tiny_adapter()
    silent = tuple(replace(m, lora_B=np.zeros_like(m.lora_B)) for m in adapter.modules)
    with pytest.raises(AdapterError, match=r"8 of 8.*warm_start\.type"):
        AdapterBasis.decompose(replace(adapter, modules=silent), "factors", 1.0)


def test_factors_whose_product_is_zero_are_refused_for_product(tiny_adapter):
    adapter = tiny_adapter(rank=2)
    first = adapter.modules[0]
    lora_A, lora_B = first.lora_A.copy(), first.lora_B.copy()
    lora_A[1], lora_B[:, 0] = 0, 0
    modules = (replace(first, lora_A=lora_A, lora_B=lora_B), *adapter.modules[1:])
    with pytest.raises(AdapterError, match=r"B @ A is zero"):
        AdapterBasis.decompose(replace(adapter, modules=modules), "product", 1.0)
