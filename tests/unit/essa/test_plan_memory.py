"""Estimates agree with what can be counted by hand."""

from __future__ import annotations

import pytest

from essa.errors import SpecError
from essa.plan.memory import essa_memory, grpo_memory
from essa.plan.shape import ModelShape

SMOLLM2 = {
    "num_hidden_layers": 30,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "vocab_size": 49152,
    "tie_word_embeddings": True,
}
QKVO = ("q_proj", "k_proj", "v_proj", "o_proj")


@pytest.fixture
def shape() -> ModelShape:
    return ModelShape.from_config(SMOLLM2)


def test_parameters_are_those_of_the_checkpoint(shape: ModelShape) -> None:
    assert shape.parameters == 134_515_008
    assert shape.weight_bytes("bf16") == 2 * 134_515_008


def test_a_text_config_inside_is_read() -> None:
    assert ModelShape.from_config({"text_config": SMOLLM2}).layers == 30


def test_a_missing_size_is_named() -> None:
    with pytest.raises(SpecError, match="intermediate_size=None"):
        ModelShape.from_config({k: v for k, v in SMOLLM2.items() if k != "intermediate_size"})


def test_int4_keeps_the_embeddings_wide(shape: ModelShape) -> None:
    wide = 2 * shape.other_parameters
    assert shape.weight_bytes("int4") == pytest.approx(wide + shape.linear_parameters * 4.25 / 8)


def test_lora_counts_both_factors_of_every_layer(shape: ModelShape) -> None:
    widths = (576 + 576) + 2 * (576 + 192) + (576 + 576)
    assert shape.lora_parameters(8, QKVO) == 30 * 8 * widths
    with pytest.raises(SpecError, match="lm_head"):
        shape.lora_parameters(8, ("q_proj", "lm_head"))


def test_a_population_costs_a_row_each_and_training_costs_state_and_activations(
    shape: ModelShape,
) -> None:
    common = {"precision": "bf16", "rank": 8, "modules": QKVO, "sequences": 64, "tokens": 512}
    ours = essa_memory(shape, **common, dimension=1920, population=96)
    assert ours.parts["population"] == 4 * 1920 * 97
    assert ours.parts["kv_cache"] == 2 * 30 * 3 * 64 * 2 * 64 * 512
    theirs = grpo_memory(shape, **common, optimiser="adamw", micro_batch=8)
    assert theirs.parts["optimiser"] == 8 * shape.lora_parameters(8, QKVO)
    assert theirs.total_bytes > 1.5 * ours.total_bytes
    kept = grpo_memory(shape, **common, optimiser="adamw", micro_batch=8, is_checkpointing=False)
    assert kept.parts["activations"] > 2 * theirs.parts["activations"]
