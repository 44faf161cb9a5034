"""What every codec promises, over all of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from essa.errors import AdapterError
from essa.parametrize.adapter import LoraAdapter
from essa.parametrize.basis import AdapterBasis
from essa.parametrize.codec import SingularValueCodec
from essa.parametrize.engine_basis import ModuleBasis
from essa.parametrize.port import Codec, Load
from essa.parametrize.weights import WeightCodec
from essa.types import FloatArray

CODECS: dict[str, Callable[[LoraAdapter], Codec]] = {
    "factors": lambda start: SingularValueCodec(AdapterBasis.decompose(start, "factors", 1.0)),
    "product": lambda start: SingularValueCodec(AdapterBasis.decompose(start, "product", 0.5)),
    "weights": WeightCodec,
}


@pytest.fixture(params=sorted(CODECS))
def codec(request, tiny_adapter) -> Codec:
    return CODECS[request.param](tiny_adapter(strength=0.1))


@pytest.fixture
def vectors(codec) -> FloatArray:
    return 0.5 * np.random.default_rng(0).normal(size=(5, codec.dimension))


def candidates(codec: Codec, vectors_N_D: FloatArray) -> list[Load]:
    """Every candidate as a load of its own."""
    return [one for load in codec.loads(vectors_N_D) for one in load.parts(1)]


def added(module: ModuleBasis, scales: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The formula of essa/parametrize/engine_basis.py."""
    hidden = (x @ module.shrink.T) * scales[: module.rank]
    if module.core is not None:
        hidden = (hidden @ module.core.T) * scales[module.rank :]
    return hidden @ module.expand.T


def test_engines_run_the_exported_adapters_in_the_order_of_the_vectors(codec, vectors):
    rng = np.random.default_rng(1)
    given = candidates(codec, vectors)
    assert len(given) == len(vectors)
    for load, vector in zip(given, vectors, strict=True):
        starts = load.basis.offsets()
        for module, exported in zip(load.basis.modules, codec.export(vector).modules, strict=True):
            x = rng.normal(size=(3, module.shrink.shape[1])).astype(np.float32)
            start = starts[module.name]
            ours = added(module, load.scales_N_S[0, start : start + module.scales], x)
            theirs = exported.scaling * x @ exported.lora_A.T @ exported.lora_B.T
            np.testing.assert_allclose(ours, theirs, atol=1e-4 * np.abs(theirs).max())


def test_loads_fit_engines_of_the_layout(codec, vectors):
    layout = codec.layout
    for load in codec.loads(vectors):
        assert load.scales_N_S.dtype == np.float32
        assert load.scales_N_S.shape == (load.candidates, load.basis.width)
        assert load.candidates <= layout.slots(len(vectors))
        assert load.basis.rank == layout.rank
        assert {one.name.rpartition(".")[2] for one in load.basis.modules} == set(layout.modules)
        assert all((one.core is not None) == layout.has_core for one in load.basis.modules)


def test_equal_vectors_are_equal_loads_and_stay_as_they_are(codec, vectors):
    before = vectors.copy()
    for one, other in zip(candidates(codec, vectors), candidates(codec, vectors), strict=True):
        assert one.basis.digest == other.basis.digest
        np.testing.assert_array_equal(one.scales_N_S, other.scales_N_S)
    np.testing.assert_array_equal(vectors, before)


def test_parts_of_a_load_are_its_candidates_and_no_copies(codec, vectors):
    for load in codec.loads(vectors):
        parts = list(load.parts(2))
        assert max(part.candidates for part in parts) <= 2
        np.testing.assert_array_equal(
            np.concatenate([part.scales_N_S for part in parts]), load.scales_N_S
        )
        assert all(np.shares_memory(part.scales_N_S, load.scales_N_S) for part in parts)
        assert {part.basis.digest for part in parts} == {load.basis.digest}


def test_a_population_of_singular_values_is_one_load_and_its_bases_are_made_once(tiny_adapter):
    codec = CODECS["factors"](tiny_adapter())
    vectors = np.random.default_rng(0).normal(size=(4, codec.dimension))
    (load,), (again,) = codec.loads(vectors), codec.loads(vectors)
    assert load.candidates == 4
    assert load.basis is again.basis


def test_vectors_of_another_length_and_values_that_are_not_finite_are_refused(codec, vectors):
    broken = vectors.copy()
    broken[1, 3] = np.nan
    for unusable in (vectors[:, 1:], broken):
        with pytest.raises(AdapterError):
            list(codec.loads(unusable))
    for unusable in (vectors[0, 1:], broken[1], vectors):
        with pytest.raises(AdapterError):
            codec.export(unusable)
