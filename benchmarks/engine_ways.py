"""The inside of an engine's process: what each way does in a turn. Started by `engines.py`."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from populations import Setup, write_candidates

from essa.parametrize.basis import AdapterBasis
from essa.parametrize.codec import SingularValueCodec

Pair = tuple[int, list[int]]


def main() -> None:
    """Serve turns until standard input ends."""
    way, setup = sys.argv[1], Setup(**json.loads(sys.argv[2]))
    if way != "defaults":
        os.sched_setaffinity(0, set(json.loads(sys.argv[3])))
    turns = WAYS[way](setup)
    print("{}", flush=True)
    for line in sys.stdin:
        options = json.loads(line)
        run = turns[options.pop("turn")]
        started_s = time.perf_counter()
        found = run(**options)
        seconds = time.perf_counter() - started_s
        print(json.dumps({"seconds": seconds, **found}), flush=True)


def memory_bytes() -> int:
    """Resident memory of this process."""
    return psutil.Process().memory_info().rss


def _settings(setup: Setup) -> Any:
    from workers.engines.vllm_settings import VllmSettings

    return VllmSettings(
        model_path=setup.model,
        dtype=setup.activations,
        max_population=setup.population,
        rank=setup.rank,
        target_modules=tuple(setup.targets),
        has_core=True,
        max_model_len=_length(setup),
        prefix_caching=setup.prefix_caching,
    )


def _length(setup: Setup) -> int:
    return max(256, setup.prompt_tokens + setup.new_tokens)


def _codec(setup: Setup) -> SingularValueCodec:
    return SingularValueCodec(AdapterBasis.load(Path(setup.folder, "basis.safetensors")))


# -- ours -----------------------------------------------------------------------------------


def _population(setup: Setup) -> dict[str, Callable[..., dict[str, Any]]]:
    from workers.engines.base import BASE, SamplingParameters
    from workers.engines.vllm_engine import VllmEngine

    codec = _codec(setup)
    vectors = np.load(Path(setup.folder, "vectors.npy"))
    engine = VllmEngine(_settings(setup))
    engine.load_basis(codec.engine_basis())
    engine.set_population(codec.scales(vectors))
    parameters = SamplingParameters(setup.new_tokens, ignore_end=True)
    work = setup.work()
    each = len(work) // setup.population

    def generate(pairs: Sequence[Pair], asked: Any = parameters) -> list[Any]:
        found = engine.generate([n for n, _ in pairs], [p for _, p in pairs], asked)
        return [samples[0] for samples in found]

    def run_all() -> dict[str, Any]:
        return {"tokens": sum(len(one.token_ids) for one in generate(work))}

    def run_one_by_one(candidates: int) -> dict[str, Any]:
        # A short stretch: at population 96 all of them take minutes.
        parts = [work[n * each : (n + 1) * each] for n in range(candidates)]
        return {"tokens": sum(len(one.token_ids) for part in parts for one in generate(part))}

    def switch() -> dict[str, Any]:
        scales = codec.scales(vectors)
        started_s = time.perf_counter()
        engine.set_population(scales)
        return {"seconds": time.perf_counter() - started_s, "memory": memory_bytes()}

    def answers(pairs: list[Pair], new_tokens: int, batch: int) -> dict[str, Any]:
        """Tokens and their log-probabilities, so many sequences at a time."""
        engine.set_population(codec.scales(vectors))  # forgets cached prefixes
        asked = SamplingParameters(new_tokens, with_logprobs=True)
        found: list[Any] = []
        for start in range(0, len(pairs), batch):
            found += generate(pairs[start : start + batch], asked)
        return {"answers": [[one.token_ids, one.token_logprobs] for one in found]}

    def generation(seed: int, prompts: list[list[int]], new_tokens: int) -> dict[str, Any]:
        """One generation: new vectors in place, then every candidate on every prompt."""
        fresh = np.random.default_rng(seed).normal(size=vectors.shape)
        engine.set_population(codec.scales(fresh))
        pairs = [(n, prompt) for n in range(setup.population) for prompt in prompts]
        found = generate(pairs, SamplingParameters(new_tokens, ignore_end=True))
        written[:] = [
            (prompt, one.token_ids) for (_, prompt), one in zip(pairs, found, strict=True)
        ]
        return {"tokens": sum(len(one.token_ids) for one in found)}

    written: list[tuple[list[int], tuple[int, ...]]] = []

    def score() -> dict[str, Any]:
        """The base's log-probabilities of the last generation's answers."""
        prompts, given = [prompt for prompt, _ in written], [answer for _, answer in written]
        engine.score([BASE] * len(written), prompts, given)
        return {"tokens": sum(len(answer) for _, answer in written)}

    return {
        "score": score,
        "all": run_all,
        "one_by_one": run_one_by_one,
        "switch": switch,
        "answers": answers,
        "generation": generation,
    }


def _base(setup: Setup) -> dict[str, Callable[..., dict[str, Any]]]:
    from workers.engines.vllm_cpu_kernels import install_cpu_kernels
    from workers.engines.vllm_settings import engine_arguments

    install_cpu_kernels()
    arguments = engine_arguments(_settings(setup), on_cpu=True)
    for name in (
        "enable_lora", "max_loras", "max_cpu_loras", "max_lora_rank", "lora_target_modules",
        "worker_extension_cls", "additional_config",
    ):  # fmt: skip
        del arguments[name]
    return {"all": _stepped(setup, arguments)}


# -- stock vLLM -----------------------------------------------------------------------------


def _multilora(setup: Setup) -> dict[str, Callable[..., dict[str, Any]]]:
    return _with_files(setup, setup.population)


def _single(setup: Setup) -> dict[str, Callable[..., dict[str, Any]]]:
    return _with_files(setup, 1)


def _with_files(setup: Setup, room: int) -> dict[str, Callable[..., dict[str, Any]]]:
    """vLLM as it comes, apart from a crash of its LoRA layers over W8A8 on CPU."""
    from workers.engines.vllm_population import patch_lora_device

    patch_lora_device()
    arguments = {
        "model": setup.model,
        "dtype": setup.activations,
        "max_model_len": _length(setup),
        "max_num_seqs": 192,
        "enforce_eager": True,
        "enable_prefix_caching": setup.prefix_caching,
        "enable_chunked_prefill": False,
        "max_num_batched_tokens": 4096,
        "kv_cache_memory_bytes": 2 * 2**30,
        "distributed_executor_backend": "uni",
        "disable_log_stats": True,
        "enable_lora": True,
        "max_loras": room,
        "max_cpu_loras": room,
        "max_lora_rank": max(8, setup.rank),
        "lora_target_modules": list(setup.targets),
    }
    folders = [f"{setup.folder}/candidate-{n}" for n in range(setup.population)]
    engine = _engine(arguments)
    numbers = iter(range(1, 2**31))
    first = [_adapter(next(numbers), folder) for folder in folders]
    codec = _codec(setup)

    def run_all() -> dict[str, Any]:
        work = [(prompt, first[n]) for n, prompt in setup.work()]
        return {"tokens": _step_through(engine, work, setup.new_tokens)}

    def generation(seed: int, prompts: list[list[int]], new_tokens: int) -> dict[str, Any]:
        """One generation: an adapter folder and a new name for every candidate."""
        vectors = np.random.default_rng(seed).normal(size=(setup.population, codec.dimension))
        written = write_candidates(codec, vectors, Path(setup.folder, f"generation-{room}"))
        adapters = [_adapter(next(numbers), str(folder)) for folder in written]
        tokens = 0
        for start in range(0, setup.population, room):
            part = adapters[start : start + room]
            work = [(prompt, adapter) for adapter in part for prompt in prompts]
            tokens += _step_through(engine, work, new_tokens)
        return {"tokens": tokens}

    return {"all": run_all, "generation": generation}


def _defaults(setup: Setup) -> dict[str, Callable[..., dict[str, Any]]]:
    from vllm import LLM, SamplingParams
    from vllm.inputs import TokensPrompt

    # Without it vLLM takes 92 % of the machine's memory and refuses to start beside other engines.
    llm = LLM(setup.model, gpu_memory_utilization=0.3)
    prompts = [TokensPrompt(prompt_token_ids=prompt) for _, prompt in setup.work()]
    parameters = SamplingParams(temperature=0.0, max_tokens=setup.new_tokens, ignore_eos=True)

    def run_all() -> dict[str, Any]:
        outputs = llm.generate(prompts, parameters, use_tqdm=False)
        return {"tokens": sum(len(output.outputs[0].token_ids) for output in outputs)}

    return {"all": run_all}


def _adapter(number: int, folder: str) -> Any:
    from vllm.lora.request import LoRARequest

    return LoRARequest(f"adapter-{number}", number, folder)


def _engine(arguments: dict[str, Any]) -> Any:
    from vllm import EngineArgs
    from vllm.v1.engine.llm_engine import LLMEngine

    return LLMEngine.from_engine_args(EngineArgs(**arguments))


def _stepped(setup: Setup, arguments: dict[str, Any]) -> Callable[[], dict[str, Any]]:
    engine = _engine(arguments)
    work = [(prompt, None) for _, prompt in setup.work()]
    return lambda: {"tokens": _step_through(engine, work, setup.new_tokens)}


def _step_through(engine: Any, work: Sequence[tuple[list[int], Any]], new_tokens: int) -> int:
    from vllm import SamplingParams
    from vllm.inputs import TokensPrompt
    from vllm.sampling_params import RequestOutputKind

    parameters = SamplingParams(
        temperature=0.0,
        max_tokens=new_tokens,
        ignore_eos=True,
        detokenize=False,
        output_kind=RequestOutputKind.FINAL_ONLY,
    )
    for index, (prompt, adapter) in enumerate(work):
        engine.add_request(
            str(index), TokensPrompt(prompt_token_ids=prompt), parameters, lora_request=adapter
        )
    tokens = 0
    while engine.has_unfinished_requests():
        for output in engine.step():
            if output.finished:
                tokens += len(output.outputs[0].token_ids)
    return tokens


WAYS: dict[str, Callable[[Setup], dict[str, Callable[..., dict[str, Any]]]]] = {
    "base": _base,
    "population": _population,
    "multilora": _multilora,
    "single": _single,
    "defaults": _defaults,
}
