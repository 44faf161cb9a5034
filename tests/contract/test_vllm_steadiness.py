"""An answer depends on candidate and prompt alone: not on the batch, nor on tensor parallelism."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from essa.number_format import Activations

pytest.importorskip("vllm")


from essa.parametrize.codec import SingularValueCodec
from essa.spec import ModelSpec, Precision, VllmEngineSpec
from tests.contract.linear_layers import TARGETS, linear_codec
from tests.contract.remote_engine import RemoteEngine, local_ray
from workers.engines.base import BASE, SamplingParameters
from workers.engines.build import EngineBuild
from workers.models.store import ModelStore

pytestmark = pytest.mark.engine

RANK = 4
POPULATION = 4
HEAD = list(range(5, 45))
"""Longer than one block of the KV cache, so that prompts of a candidate share it."""
PROMPTS = [[*HEAD, 50 + i, 60 + 2 * i, 70 - i][: 43 - i] for i in range(4)]
PAIRS = [(n, prompt) for n in (*range(POPULATION), BASE) for prompt in PROMPTS]


@pytest.fixture(scope="module", autouse=True)
def _cluster() -> Iterator[None]:
    with local_ray(2):
        yield


@pytest.fixture(scope="module")
def codec() -> SingularValueCodec:
    return linear_codec(rank=RANK, seed=8, strength=0.3, scaling=2.0)


def _engine(
    folder: Path,
    precision: Precision,
    codec,
    ranks: int = 1,
    activations: Activations | None = None,
) -> RemoteEngine:
    build = EngineBuild(
        spec=VllmEngineSpec(
            precision=precision, kv_cache_gib=0.2, max_model_len=64, tensor_parallel=ranks
        ),
        model_path=str(folder),
        max_population=POPULATION,
        rank=RANK,
        target_modules=TARGETS,
        has_core=True,
        seed=0,
        activations=activations,
    )
    engine = RemoteEngine(build, cores=tuple(range(ranks)))
    engine.load_basis(codec.engine_basis())
    _set_population(engine, codec)
    return engine


def _set_population(engine: RemoteEngine, codec) -> None:
    vectors = np.random.default_rng(9).normal(size=(POPULATION, codec.dimension))
    engine.set_population(codec.scales(vectors))


def _answers(engine, pairs, parameters) -> list:
    results = engine.generate([n for n, _ in pairs], [p for _, p in pairs], parameters)
    return [(one.token_ids, one.token_logprobs) for samples in results for one in samples]


@pytest.fixture(
    scope="module",
    params=["bf16", "int8", "int4"],
)
def engine(
    request, tiny_model, codec, tmp_path_factory, activations_here
) -> Iterator[RemoteEngine]:
    precision, activations = Precision(request.param), activations_here(request.param)
    if activations == "float32":
        pytest.skip("float32 products are summed in an order that depends on the batch")
    store = ModelStore(tmp_path_factory.mktemp("store"))
    base = store.base(ModelSpec(path=str(tiny_model("llama"))))
    folder = store.quantized(base, precision)
    engine = _engine(folder, precision, codec, activations=activations)
    yield engine
    engine.close()


@pytest.mark.parametrize("temperature", [0.0, 1.0], ids=["greedy", "sampled"])
def test_answers_are_bit_equal_in_any_company(engine, temperature, codec):
    alone = []
    for index, pair in enumerate(PAIRS):
        # A sampling seed belongs to a place in the call.
        one = SamplingParameters(
            max_tokens=10, temperature=temperature, seed=4 + index, with_logprobs=True,
            ignore_end=True,
        )  # fmt: skip
        alone += _answers(engine, [pair], one)
    _set_population(engine, codec)  # empties the prefix cache
    parameters = SamplingParameters(
        max_tokens=10, temperature=temperature, seed=4, with_logprobs=True, ignore_end=True
    )
    assert _answers(engine, PAIRS, parameters) == alone


@pytest.mark.cores
@pytest.mark.parametrize("architecture", ["qwen2", "llama"])
def test_two_tensor_parallel_processes_answer_as_one(architecture, tiny_model, codec):
    greedy = SamplingParameters(max_tokens=8, with_logprobs=True)
    answers = []
    for ranks in (1, 2):
        engine = _engine(tiny_model(architecture), Precision.FP32, codec, ranks)
        try:
            answers.append(_answers(engine, PAIRS, greedy))
        finally:
            engine.close()
    one, two = answers
    assert [tokens for tokens, _ in two] == [tokens for tokens, _ in one]
    assert np.array([logprobs for _, logprobs in two]) == pytest.approx(
        np.array([logprobs for _, logprobs in one]), abs=2e-3
    )
