"""What only vLLM can get wrong: slots, merged layers, its own LoRA path, quantised bases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("vllm")

import ray

from essa.parametrize.adapter import write_adapter
from essa.parametrize.codec import SingularValueCodec
from essa.spec import ModelSpec, Precision, VllmEngineSpec
from tests.contract.linear_layers import TARGETS, linear_codec
from tests.contract.remote_engine import RemoteEngine, local_ray
from workers.engines.base import BASE, SamplingParameters
from workers.engines.build import EngineBuild
from workers.engines.registry import process_environment
from workers.models.store import ModelStore

pytestmark = pytest.mark.engine

POPULATION = 5
ANSWER = SamplingParameters(max_tokens=12, with_logprobs=True)
PROMPTS = [[40, 41, 42, 43], [50, 51], [60, 61, 62, 63, 64, 65]]
PAIRS = [(n, p) for n in (*range(POPULATION), BASE) for p in PROMPTS]


@pytest.fixture(scope="module", autouse=True)
def _cluster() -> Iterator[None]:
    with local_ray(2):
        yield


@pytest.fixture(scope="module")
def codec() -> SingularValueCodec:
    """Every linear layer adapted, so that both merged projections are: qkv and gate_up."""
    return linear_codec(rank=3, seed=4, strength=0.5, scaling=1.5)


@pytest.fixture(scope="module")
def vectors(codec) -> np.ndarray:
    return np.random.default_rng(5).normal(size=(POPULATION, codec.dimension))


def _build(model: Path, precision: Precision) -> EngineBuild:
    return EngineBuild(
        spec=VllmEngineSpec(precision=precision, kv_cache_gib=0.2, max_model_len=64),
        model_path=str(model),
        max_population=POPULATION,
        rank=3,
        target_modules=TARGETS,
        has_core=True,
        seed=0,
    )


@pytest.fixture(scope="module")
def engine(tiny_model, codec, vectors) -> Iterator[RemoteEngine]:
    started = RemoteEngine(_build(tiny_model("qwen2"), Precision.FP32))
    started.load_basis(codec.engine_basis())
    started.set_population(codec.scales(vectors))
    yield started
    started.close()


def _answers(engine) -> list:
    results = engine.generate([n for n, _ in PAIRS], [p for _, p in PAIRS], ANSWER)
    return [samples[0] for samples in results]


def _stock_lora():
    """Make a Ray task: greedy answers of vLLM's own LoRA path, where our patches never were."""

    # Local functions travel to the worker by value; it cannot import this module.
    @ray.remote(num_cpus=1, max_calls=1)
    def answer(model: str, adapters: list[str], pairs: list) -> list:
        from vllm import LLM, SamplingParams
        from vllm.lora.request import LoRARequest

        llm = LLM(
            model=model,
            dtype="float32",
            max_model_len=64,
            kv_cache_memory_bytes=2**28,
            enforce_eager=True,
            enable_lora=True,
            max_loras=len(adapters),
            max_lora_rank=8,
            distributed_executor_backend="uni",
        )
        # None is the base, whatever the annotation says.
        loras: list[Any] = [
            LoRARequest(str(n), n + 1, adapters[n]) if n >= 0 else None for n, _ in pairs
        ]
        outputs: list[Any] = llm.generate(
            [{"prompt_token_ids": prompt} for _, prompt in pairs],
            SamplingParams(temperature=0.0, max_tokens=12, logprobs=0),
            lora_request=loras,
            use_tqdm=False,
        )
        answers = []
        for output in outputs:
            tokens = list(output.outputs[0].token_ids)
            entries = zip(output.outputs[0].logprobs, tokens, strict=True)
            answers.append((tokens, [entry[token].logprob for entry, token in entries]))
        return answers

    return answer


def test_population_agrees_with_vllms_own_lora_path_on_every_linear_layer(
    engine, codec, vectors, tiny_model, tmp_path
):
    folders = []
    for index, vector in enumerate(vectors):
        folders.append(str(tmp_path / f"candidate-{index}"))
        write_adapter(codec.export(vector), folders[-1])
    environment = process_environment(VllmEngineSpec(), (1,))
    stock = _stock_lora().options(runtime_env={"env_vars": environment})
    # Candidates only: in a mixed batch vLLM 0.32's own CPU path runs rows without an adapter with
    # the adapter in the last slot. Ours are held against plain transformers in the engine contract.
    pairs = [(n, prompt) for n, prompt in PAIRS if n != BASE]
    expected = ray.get(stock.remote(str(tiny_model("qwen2")), folders, pairs))
    ours = _answers(engine)[: len(pairs)]
    assert [list(one.token_ids) for one in ours] == [tokens for tokens, _ in expected]
    assert np.array([one.token_logprobs for one in ours]) == pytest.approx(
        np.array([logprobs for _, logprobs in expected]), abs=2e-3
    )


def test_candidates_keep_their_rows_when_vllm_gives_slots_in_another_order(engine, codec, vectors):
    before = [list(one.token_ids) for one in _answers(engine)]

    def shuffle(actor) -> dict[int, int]:
        """Take all adapters out and let vLLM meet them again in another order."""
        worker = actor._engine._llm.engine_core.engine_core.model_executor.driver_worker.worker
        worker.model_runner.lora_manager.remove_all_adapters()
        from vllm.lora.request import LoRARequest

        for number in (4, 1, 5, 3, 2):
            worker.model_runner.lora_manager.add_adapter(
                LoRARequest(str(number), number, "population")
            )
        return worker.population_slots()

    slots = ray.get(engine.actor.__ray_call__.remote(shuffle))
    assert slots == {4: 0, 1: 1, 5: 2, 3: 3, 2: 4}
    engine.set_population(codec.scales(vectors))
    assert [list(one.token_ids) for one in _answers(engine)] == before


def test_an_evicted_adapter_is_an_error_and_not_a_wrong_score(engine, codec, vectors):
    def evict(actor) -> None:
        worker = actor._engine._llm.engine_core.engine_core.model_executor.driver_worker.worker
        worker.model_runner.lora_manager.remove_adapter(2)

    ray.get(engine.actor.__ray_call__.remote(evict))
    with pytest.raises(Exception, match=r"evicted.*2"):
        engine.set_population(codec.scales(vectors))

    def restore(actor) -> None:
        worker = actor._engine._llm.engine_core.engine_core.model_executor.driver_worker.worker
        worker.population_start(POPULATION)

    ray.get(engine.actor.__ray_call__.remote(restore))
    engine.set_population(codec.scales(vectors))


def test_int8_base_takes_a_population_and_base_rows_stay_the_base(
    codec, vectors, tiny_model, tmp_path
):
    store = ModelStore(tmp_path)
    base = store.base(ModelSpec(path=str(tiny_model("llama"))))
    quantized = RemoteEngine(_build(store.quantized(base, Precision.INT8), Precision.INT8))
    try:
        alone = quantized.generate([BASE] * len(PROMPTS), PROMPTS, ANSWER)
        quantized.load_basis(codec.engine_basis())
        quantized.set_population(codec.scales(vectors))
        mixed = _answers(quantized)
        groups = [
            tuple(one.token_ids for one in mixed[start : start + len(PROMPTS)])
            for start in range(0, len(mixed), len(PROMPTS))
        ]
        assert groups[-1] == tuple(samples[0].token_ids for samples in alone)
        assert len(set(groups)) == POPULATION + 1
    finally:
        quantized.close()


def test_answers_scored_without_what_is_cached_are_scored_alike(engine):
    """As on CUDA, where prompts are cut and a preempted one must begin anew."""
    prompts, answers = [[5, 6, 7] * 12] * 3, [[8, 9, 10] * 3] * 3

    def let_read(is_allowed: bool) -> None:
        ray.get(
            engine.actor.__ray_call__.remote(
                lambda actor: setattr(actor._engine, "_reads_prefixes", is_allowed)
            )
        )

    def scores() -> list[float]:
        found = engine.score([0, 1, BASE], prompts, answers)
        return [value for (one,) in found for value in one.token_logprobs]

    reading = scores()
    let_read(False)
    try:
        assert scores() == pytest.approx(reading, abs=1e-3)
    finally:
        let_read(True)


def test_a_vllm_that_decides_otherwise_than_it_was_told_is_refused(engine):
    def refusals(actor) -> list[str]:
        from unittest.mock import patch

        from essa.errors import EngineStartError
        from workers.engines.vllm_settings import check_config

        config, told = actor._engine._llm.vllm_config, []
        check_config(config)
        for owner, name in (
            (config.scheduler_config, "async_scheduling"),
            (type(config), "use_v2_model_runner"),
        ):
            with patch.object(owner, name, True):
                try:
                    check_config(config)
                except EngineStartError as error:
                    told.append(str(error))
        return told

    told = ray.get(engine.actor.__ray_call__.remote(refusals))
    assert len(told) == 2
    assert "asynchronous scheduling" in told[0]
    assert "VLLM_USE_V2_MODEL_RUNNER" in told[1]


def test_internals_that_changed_are_refused(monkeypatch):
    from essa.errors import EngineStartError
    from workers.engines import vllm_population

    layer = vllm_population.BaseLinearLayerWithLoRA
    monkeypatch.setattr(layer, "essa_patched", False, raising=False)
    monkeypatch.setattr(layer, "set_lora", lambda self, slot, weights: None)
    with pytest.raises(EngineStartError, match="set_lora"):
        vllm_population.install_patches()
