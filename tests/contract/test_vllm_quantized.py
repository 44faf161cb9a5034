"""Stock vLLM, where our patches never were, loads what we quantise and answers with it."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from essa.spec import QuantizationMethod

pytest.importorskip("vllm")

import ray
import torch
from transformers import AutoModelForCausalLM

from essa.spec import Precision, QuantizationSpec, VllmEngineSpec
from tests.contract.remote_engine import local_ray
from workers.engines.registry import process_environment
from workers.quantization.quantize import QuantizationReport, quantize_folder

pytestmark = pytest.mark.engine

PROMPTS = [[40, 41, 42, 43], [50, 51], [60, 61, 62, 63, 64, 65]]
CASES = {
    "int4": (
        "llama",
        Precision.INT4,
        QuantizationSpec(method=QuantizationMethod.GPTQ, group_size=64),
    ),
    "int8": ("llama", Precision.INT8, QuantizationSpec(method=QuantizationMethod.GPTQ)),
    "mixed": (
        "qwen2",
        Precision.INT4,
        QuantizationSpec(method=QuantizationMethod.GPTQ, keep_int8=3),
    ),
}
"""Architecture, precision and settings of the checkpoints; qwen2 has biases in merged layers."""


@pytest.fixture(scope="module")
def cases(activations_here) -> dict[str, tuple[str, Precision, QuantizationSpec]]:
    """Those that the machine can run."""
    possible = {}
    for name, case in CASES.items():
        with contextlib.suppress(pytest.skip.Exception):
            activations_here(case[1])
            possible[name] = case
    return possible


@pytest.fixture(scope="module")
def checkpoints(cases, tiny_model, tmp_path_factory) -> dict[str, tuple[Path, QuantizationReport]]:
    rng = random.Random(2)
    texts = ["".join(rng.choices("abcdefg 0123", k=80)) for _ in range(16)]
    built = {}
    for name, (architecture, precision, settings) in cases.items():
        folder = tmp_path_factory.mktemp(name)
        report = quantize_folder(
            tiny_model(architecture), folder, precision, print, settings=settings, texts=texts
        )
        built[name] = folder, report
    return built


@pytest.fixture(scope="module")
def answers(cases, checkpoints) -> Iterator[dict[str, tuple]]:
    """Of each checkpoint: tokens and log-probabilities per prompt, scheme of each vLLM layer."""
    if torch.cpu._is_amx_tile_supported() and not torch.cpu._is_amx_fp16_supported():
        pytest.skip("vLLM's float16 kernels end the process on a CPU with AMX and no AMX-FP16")
    environment = process_environment(VllmEngineSpec(), (1,))
    # Of the two formats of the int4 kernel the finer one; oneDNN lacks it where int4 is missing.
    dtype = "float16" if "int4" in cases else "float32"
    folders = [str(folder) for folder, _ in checkpoints.values()]
    with local_ray(1):
        task = _stock().options(runtime_env={"env_vars": environment})
        yield dict(zip(checkpoints, ray.get(task.remote(folders, PROMPTS, dtype)), strict=True))


def _skip_without(answers, name: str) -> None:
    if name not in answers:
        pytest.skip(f"this CPU has no product of {CASES[name][1]} weights in vLLM")


def _stock():
    # Local functions travel to the worker by value; it cannot import this module.
    @ray.remote(num_cpus=1, max_calls=1)
    def answer(folders: list[str], prompts: list[list[int]], dtype: Any) -> list[tuple]:
        from vllm import LLM, SamplingParams
        from vllm.distributed import cleanup_dist_env_and_memory

        found = []
        for folder in folders:
            llm = LLM(
                model=folder,
                dtype=dtype,
                max_model_len=64,
                kv_cache_memory_bytes=2**28,
                enforce_eager=True,
                distributed_executor_backend="uni",
            )
            outputs: list[Any] = llm.generate(
                [{"prompt_token_ids": prompt} for prompt in prompts],
                SamplingParams(temperature=0.0, max_tokens=12, logprobs=0),
                use_tqdm=False,
            )
            texts = []
            for output in outputs:
                tokens = list(output.outputs[0].token_ids)
                entries = zip(output.outputs[0].logprobs, tokens, strict=True)
                texts.append((tokens, [entry[token].logprob for entry, token in entries]))
            (schemes,) = llm.apply_model(
                lambda model: {
                    name: type(module.scheme).__name__
                    for name, module in model.named_modules()
                    if hasattr(module, "scheme")
                }
            )
            found.append((texts, schemes))
            del llm
            cleanup_dist_env_and_memory()
        return found

    return answer


@pytest.mark.parametrize(
    ("name", "mean", "largest"),
    # INT8 activations are scaled by absmax / 127 in vLLM and by absmax / 127.5 in
    # compressed-tensors; in a model of random weights that moves log-probabilities visibly.
    [("int4", 0.005, 0.02), ("int8", 0.06, 0.3), ("mixed", 0.05, 0.25)],
)
def test_greedy_log_probabilities_agree_with_transformers(
    answers, checkpoints, name, mean, largest
):
    _skip_without(answers, name)
    folder, _ = checkpoints[name]
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    differences = []
    for prompt, (tokens, logprobs) in zip(PROMPTS, answers[name][0], strict=True):
        assert len(tokens) == 12
        with torch.no_grad():
            logits = model(torch.tensor([prompt + tokens])).logits[0, len(prompt) - 1 : -1]
        expected = logits.log_softmax(-1)[range(12), tokens]
        differences += (expected - torch.tensor(logprobs)).abs().tolist()
    assert np.mean(differences) < mean
    assert np.max(differences) < largest


@pytest.mark.parametrize("name", CASES)
def test_every_layer_runs_in_the_scheme_it_was_given(answers, checkpoints, name):
    _skip_without(answers, name)
    _, report = checkpoints[name]
    kept = {module for layer in report.kept for module in layer.modules}
    general = "CompressedTensorsW8A8Int8" if name == "int8" else "CompressedTensorsWNA16"
    schemes = answers[name][1]
    assert len(schemes) == 8
    for layer, scheme in schemes.items():
        first = layer.replace("qkv_proj", "q_proj").replace("gate_up_proj", "gate_proj")
        assert scheme == ("CompressedTensorsW8A8Int8" if first in kept else general), layer
    assert len(kept) == 0 or list(schemes.values()).count("CompressedTensorsW8A8Int8") == 3
