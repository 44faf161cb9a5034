"""Which bases and adapters the gate lets through: format x architecture x head x layers x rank.

Every case starts one engine on a model of random weights (grouped-query attention, a few layers) or
on SmolLM2-135M, loads random bases, and sends it through the gate of `workers/gate`, which compares
its log-probabilities with plain transformers. Shown is the worst of each difference and the largest
that the gate allows; a case that it refuses is a row that says so, and the script then exits 1.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from cores import numbers, on_free_cores
from populations import CACHE, MODEL, TARGETS, random_adapter
from report import print_json, print_table

from essa.errors import EngineGateError
from essa.events import GateEvent
from essa.parametrize.basis import AdapterBasis
from essa.parametrize.codec import SingularValueCodec
from essa.spec import EngineSpec, ModelSpec, Precision, TransformersEngineSpec, VllmEngineSpec
from workers.cluster.placement import Node, Placement
from workers.cluster.pool import EnginePool
from workers.cluster.ray_cluster import ray_cluster
from workers.engines.build import EngineBuild, settled_precision
from workers.gate.check import PROMPTS, check_engines
from workers.gate.reference import ReferenceModel
from workers.models.store import ModelStore
from workers.quantization.quantize import quantize_folder

FORMATS = ("vllm bf16", "vllm int8", "vllm int4", "bnb int8", "bnb nf4")
COLUMNS = (
    "format", "model", "layers", "ranks", "base", "warm start", "zeros", "candidates", "passed",
)  # fmt: skip
VOCABULARY, HIDDEN, LAYERS = 512, 128, 3


@dataclass(frozen=True)
class Case:
    """One engine start."""

    format: str
    model: str
    layers: str
    rank: int


def main() -> None:
    """Run every case, print one row per format, model and layers."""
    arguments = _arguments()
    with ray_cluster() as nodes, tempfile.TemporaryDirectory(prefix="essa-gate-") as scratch:
        folders = {
            f"{family}, {head} head": _random_model(family, head, Path(scratch))
            for family, head in itertools.product(("llama", "qwen2"), ("tied", "untied"))
        }
        folders["SmolLM2-135M"] = ModelStore(CACHE).base(ModelSpec(path=MODEL)).folder
        cases = [
            Case(*case)
            for case in itertools.product(arguments.formats, folders, TARGETS, arguments.ranks)
            if case[1] != "SmolLM2-135M" or case[3] == arguments.ranks[len(arguments.ranks) // 2]
        ]
        bases = {
            (precision, model): _quantized(folder, precision, Path(scratch))
            for precision in (Precision.INT8, Precision.INT4)
            for model, folder in folders.items()
        }
        found = _run_all(cases, folders, bases, nodes[0], arguments.cores)
    rows = [vars(case) | outcome for case, outcome in zip(cases, found, strict=True)]
    print_table(COLUMNS, _summary(rows), "differences in nats; candidates as share of their effect")
    print_json("gate_table", rows=rows)
    sys.exit(0 if all(row["passed"] for row in rows) else 1)


def _run_all(
    cases: Sequence[Case],
    folders: dict[str, Path],
    bases: dict[tuple[Precision, str], Path],
    node: Node,
    cores: Sequence[int],
) -> list[dict[str, Any]]:
    def run(case: Case, core: int) -> dict[str, Any]:
        engine, name = case.format.split()
        precision = Precision.INT4 if name == "nf4" else Precision(name)
        base = folders[case.model]
        folder = bases.get((precision, case.model), base) if engine == "vllm" else base
        outcome = _pass(case, _spec(engine, precision), folder, base, node, core)
        print(f"{case} {outcome}", file=sys.stderr, flush=True)
        return outcome

    return on_free_cores(run, cases, cores)


def _pass(
    case: Case, spec: EngineSpec, folder: Path, base: Path, node: Node, core: int
) -> dict[str, Any]:
    targets = TARGETS[case.layers]
    adapter = random_adapter(base, case.rank, targets)
    codec = SingularValueCodec(AdapterBasis.decompose(adapter, "factors", 1.0))
    build = EngineBuild(spec, str(folder), 4, case.rank, targets, has_core=True, seed=0)
    pool = EnginePool(build, [Placement(node.node_id, cores=(core,))])
    rng = np.random.default_rng(0)
    prompts = [tuple(rng.integers(3, VOCABULARY, size=20).tolist()) for _ in range(PROMPTS)]
    try:
        pool.start()
        pool.load_basis(codec.engine_basis())
        is_vllm = isinstance(spec, VllmEngineSpec)
        precision = settled_precision(spec)
        reference = ReferenceModel(folder, None if is_vllm else precision)
        try:
            event = check_engines(
                pool, codec, reference, prompts,
                precision=precision, seed=1, say=_unheard,
            )  # fmt: skip
        finally:
            reference.close()
    except EngineGateError as error:
        return {"passed": False, "message": error.message, **error.detail.get("measurement", {})}
    finally:
        pool.close()
    return {"passed": True, **_figures(event)}


def _unheard(
    text: str, done: int | None = None, total: int | None = None, eta_s: float | None = None
) -> None:
    """A `Say` that shows nothing."""


def _figures(event: GateEvent) -> dict[str, Any]:
    return {
        "base_nats": round(event.base_nats, 4),
        "warm_start_nats": round(event.warm_start_nats, 4),
        "zeroed_nats": round(event.zeroed_nats, 4),
        "candidates": [round(share, 4) for share in event.candidates],
    }


def _summary(rows: list[dict[str, Any]]) -> list[list[Any]]:
    """One row for all ranks of a format, model and layers: the worst of each difference."""
    shown = []
    for key in dict.fromkeys((row["format"], row["model"], row["layers"]) for row in rows):
        same = [row for row in rows if (row["format"], row["model"], row["layers"]) == key]
        passed = [row for row in same if row["passed"]]
        worst = [
            max((row[name] for row in passed), default=float("nan"))
            for name in ("base_nats", "warm_start_nats", "zeroed_nats")
        ]
        candidates = max((max(row["candidates"]) for row in passed), default=float("nan"))
        ranks = ", ".join(str(row["rank"]) for row in same)
        shown.append([*key, ranks, *worst, candidates, f"{len(passed)} of {len(same)}"])
    return shown


def _spec(engine: str, precision: Precision) -> EngineSpec:
    if engine == "bnb":
        return TransformersEngineSpec(precision=precision, cores_per_worker=1)
    return VllmEngineSpec(
        precision=precision, cores_per_worker=1, max_model_len=64, kv_cache_gib=0.5
    )


def _random_model(family: str, head: str, scratch: Path) -> Path:
    """A model with clear preferences: weights are larger than an untrained model's."""
    import torch
    from tokenizers import Tokenizer, models
    from transformers import (
        LlamaConfig,
        LlamaForCausalLM,
        PreTrainedTokenizerFast,
        Qwen2Config,
        Qwen2ForCausalLM,
    )

    kinds = {"llama": (LlamaConfig, LlamaForCausalLM), "qwen2": (Qwen2Config, Qwen2ForCausalLM)}
    config_class, model_class = kinds[family]
    torch.manual_seed(5)
    model = model_class(
        config_class(
            vocab_size=VOCABULARY,
            hidden_size=HIDDEN,
            intermediate_size=2 * HIDDEN,
            num_hidden_layers=LAYERS,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=256,
            initializer_range=0.12,
            tie_word_embeddings=head == "tied",
            bos_token_id=None,
            eos_token_id=1,
            pad_token_id=0,
        )
    )
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.5)
    folder = scratch / f"{family}-{head}"
    model.to(torch.bfloat16).save_pretrained(folder)
    words = {f"w{number}": number for number in range(VOCABULARY)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="w2"))
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="w0", eos_token="w1", unk_token="w2"
    ).save_pretrained(folder)
    return folder


def _quantized(base: Path, precision: Precision, scratch: Path) -> Path:
    folder = scratch / f"{base.name}-{precision}"
    folder.mkdir()
    quantize_folder(base, folder, precision, lambda text: None)
    return folder


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--ranks", type=numbers, default=[2, 8, 32], help="default 2,8,32; SmolLM2: the middle one"
    )
    parser.add_argument(
        "--formats",
        type=lambda given: given.split(","),
        default=list(FORMATS),
        help=f"comma-separated (default {','.join(FORMATS)})",
    )
    parser.add_argument(
        "--cores", type=numbers, default=[0, 1], help="cases side by side (default 0,1)"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
