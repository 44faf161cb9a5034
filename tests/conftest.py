"""Tiny models and adapters that several test folders share.

Everything that needs torch is imported inside the fixtures: the tests of `essa` and `reward` run
without it.
"""

from __future__ import annotations

import os
import string
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from essa.parametrize.adapter import LoraAdapter, LoraModule

if TYPE_CHECKING:
    from tests.postgres_server import PostgresServer

TINY_LAYERS = 2
TINY_HIDDEN = 128
TINY_KEY_VALUE = 64
"""Two key-value heads of 32 for four query heads."""
TINY_CONTEXT = 96
ATTENTION_SHAPES = {
    "q_proj": (TINY_HIDDEN, TINY_HIDDEN),
    "k_proj": (TINY_HIDDEN, TINY_KEY_VALUE),
    "v_proj": (TINY_HIDDEN, TINY_KEY_VALUE),
    "o_proj": (TINY_HIDDEN, TINY_HIDDEN),
}
"""(in, out) of the adapted layers of every tiny model."""


def pytest_configure(config: pytest.Config) -> None:
    """Give each process of `pytest -n` a core of its own, if ESSA_TEST_CORE_EACH is set.

    An engine takes all cores that its process may use. So two processes run tests of engines side
    by side; tests that need several cores carry the marker `cores` and run in one process.
    """
    process = os.environ.get("PYTEST_XDIST_WORKER")
    if process is not None and os.environ.get("ESSA_TEST_CORE_EACH"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[int(process.removeprefix("gw")) % len(cores)]})


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A real PostgreSQL server, for the whole session; `new_database()` gives an empty one."""
    from tests.postgres_server import find_programs, postgres_server

    programs = find_programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed (on Debian: apt-get install postgresql)")
    with postgres_server(programs) as server:
        yield server


@pytest.fixture(scope="session")
def activations_here(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Format of vLLM's activations over a precision on this machine; skips where it has none."""
    pytest.importorskip("vllm")
    from essa.errors import SpecError
    from essa.spec import Precision
    from workers.machine.format_probe import measured_formats

    formats = measured_formats(tmp_path_factory.mktemp("formats"))

    def activations(precision: str) -> str:
        try:
            return formats.activations(Precision(precision))
        except SpecError as error:
            pytest.skip(error.message)

    return activations


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Build a random model folder by architecture, `qwen2` or `llama`, once per session.

    Two layers, grouped-query attention, a character tokenizer, fp32 safetensors; qwen2 has
    non-zero query, key and value biases. Weights are large enough that tokens have clear winners.
    """
    pytest.importorskip("transformers")
    built: dict[str, Path] = {}

    def build(architecture: str) -> Path:
        if architecture not in built:
            folder = tmp_path_factory.mktemp(f"tiny_{architecture}")
            _save_tiny_model(architecture, folder)
            built[architecture] = folder
        return built[architecture]

    return build


@pytest.fixture(scope="session")
def tiny_reward_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of a trained reward model by variant; see `save_variants`."""
    pytest.importorskip("transformers")
    from tests.tiny_reward_model import save_variants

    return save_variants(tmp_path_factory.mktemp("reward_models"))


@pytest.fixture(scope="session")
def tiny_adapter() -> Callable[..., LoraAdapter]:
    """Make a random LoRA adapter for the tiny models, strong enough to change their answers."""
    return _make_adapter


def _make_adapter(
    rank: int = 4, seed: int = 0, strength: float = 1.0, lora_alpha: float = 8.0
) -> LoraAdapter:
    rng = np.random.default_rng(seed)
    modules = []
    for layer in range(TINY_LAYERS):
        for name, (wide_in, wide_out) in ATTENTION_SHAPES.items():
            lora_A = rng.normal(size=(rank, wide_in)) / np.sqrt(wide_in)
            lora_B = strength * rng.normal(size=(wide_out, rank)) / np.sqrt(rank)
            modules.append(
                LoraModule(
                    name=f"model.layers.{layer}.self_attn.{name}",
                    lora_A=lora_A.astype(np.float32),
                    lora_B=lora_B.astype(np.float32),
                    scaling=lora_alpha / rank,
                )
            )
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": "tiny",
        "r": rank,
        "lora_alpha": lora_alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": list(ATTENTION_SHAPES),
        "inference_mode": True,
    }
    return LoraAdapter(modules=tuple(modules), config=config)


def _save_tiny_model(architecture: str, folder: Path) -> None:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

    tokenizer = _character_tokenizer()
    kinds = {"qwen2": (Qwen2Config, Qwen2ForCausalLM), "llama": (LlamaConfig, LlamaForCausalLM)}
    config_class, model_class = kinds[architecture]
    config = config_class(
        vocab_size=len(tokenizer),
        hidden_size=TINY_HIDDEN,
        intermediate_size=2 * TINY_HIDDEN,
        num_hidden_layers=TINY_LAYERS,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=TINY_CONTEXT,
        initializer_range=0.15,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        model = model_class(config).float()
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                torch.nn.init.normal_(parameter, std=0.5)
    # Without this the end token, one of a hundred, ends answers in the middle of a comparison.
    model.lm_head.weight.data[tokenizer.eos_token_id] = 0.0
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _character_tokenizer():
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    characters = string.ascii_letters + string.digits + string.punctuation + " \n"
    vocabulary = {"<pad>": 0, "<end>": 1, "<unknown>": 2}
    vocabulary.update({character: i + 3 for i, character in enumerate(characters)})
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unknown>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="<end>",
        unk_token="<unknown>",
    )
