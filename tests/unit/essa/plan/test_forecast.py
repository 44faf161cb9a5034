"""Cost estimates agree with what can be counted by hand and with the paper's formulas."""

from __future__ import annotations

from dataclasses import replace

import pytest

from essa.errors import SpecError
from essa.plan import paper
from essa.plan.device import DEVICES, GIB, MEASURED_TOKENS_PER_S
from essa.plan.engine_speed import EngineSpeed
from essa.plan.forecast import Setting, plan_essa, plan_grpo
from essa.plan.latency import Link, essa_generation_s, gradient_step_s, trainer_share
from essa.plan.made_up import made_up_lengths
from essa.plan.memory import essa_memory, gpus_for, grpo_memory
from essa.plan.shape import NAMED, ModelShape, named_shape, read_shape
from essa.spec.engine import Precision

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
LINK = Link(bytes_per_s=1e9)


@pytest.fixture
def shape() -> ModelShape:
    return read_shape(SMOLLM2)


def test_parameters_are_those_of_the_checkpoint(shape: ModelShape) -> None:
    assert shape == NAMED["smollm2-135m"]
    assert shape.parameters == 134_515_008
    assert shape.weight_bytes(Precision.BF16) == 2 * 134_515_008


@pytest.mark.parametrize(
    ("name", "billions"),
    [("Qwen/Qwen2.5-7B-Instruct", 7.615), ("qwen2.5-32b", 32.76), ("Qwen2.5-72B", 72.70),
     ("meta-llama/Llama-3.1-8B", 8.03)],
)  # fmt: skip
def test_named_shapes_have_the_published_sizes(name: str, billions: float) -> None:
    found = named_shape(name)
    assert found is not None
    assert found.parameters / 1e9 == pytest.approx(billions, rel=1e-3)


def test_a_text_config_inside_is_read_and_null_is_a_default() -> None:
    inner = SMOLLM2 | {"head_dim": None}
    assert read_shape({"text_config": inner}) == NAMED["smollm2-135m"]


@pytest.mark.parametrize("name", ["intermediate_size", "num_hidden_layers"])
def test_a_missing_size_is_named(name: str) -> None:
    with pytest.raises(SpecError, match=f"{name}=None"):
        read_shape({k: v for k, v in SMOLLM2.items() if k != name})


def test_int4_keeps_the_embeddings_wide(shape: ModelShape) -> None:
    other = shape.parameters - shape.linear_parameters
    expected = 2 * other + shape.linear_parameters * 4.3 / 8
    assert shape.weight_bytes(Precision.INT4) == pytest.approx(expected)


def test_lora_counts_both_factors_of_every_layer(shape: ModelShape) -> None:
    widths = (576 + 576) + 2 * (576 + 192) + (576 + 576)
    assert shape.lora_parameters(8, QKVO) == 30 * 8 * widths
    with pytest.raises(SpecError, match="lm_head"):
        shape.lora_parameters(8, ("q_proj", "lm_head"))


def test_a_generation_takes_its_rollouts_over_the_workers_and_next_to_no_exchange() -> None:
    given = {"population": 96, "batch": 100, "sample_s": 0.01, "link": LINK}
    assert essa_generation_s(**given, workers=1) == 96.0
    # 96 * 100 * 0.01 / 8, and 8 bytes * 7 / (8 * 1e9).
    assert essa_generation_s(**given, workers=8) == pytest.approx(12.0 + 7e-9, rel=1e-12)
    assert essa_generation_s(**given, workers=8, workers_per_instance=2) == pytest.approx(24.0)


def test_a_step_pays_for_gradients_that_do_not_shrink_with_workers() -> None:
    given = {
        "batch": 512,
        "sample_s": 0.01,
        "train_sample_s": 0.03,
        "gradient_bytes": 64e9,
        "link": LINK,
    }
    assert gradient_step_s(**given, workers=1) == pytest.approx(512 * 0.04)
    many = gradient_step_s(**given, workers=128)
    assert many == pytest.approx(0.16 + 127)


def test_the_best_share_of_trainers_lets_neither_half_wait() -> None:
    share = trainer_share(sample_s=0.01, train_sample_s=0.03)
    assert share == pytest.approx(0.75)
    assert 0.03 / share == pytest.approx(0.01 / (1 - share))


def test_memory_of_a_population_is_what_is_counted_by_hand(shape: ModelShape) -> None:
    found = essa_memory(
        shape, precision=Precision.BF16, rank=8, modules=QKVO, dimension=1920, population=96,
        cached_tokens=64 * 512,
    )  # fmt: skip
    assert found == {
        "base": 269_030_016,
        "adapter": 2 * 921_600,
        "population": 4 * 1920 * 97,
        "kv_cache": 2 * 30 * 3 * 64 * 2 * 64 * 512,
    }


def test_training_costs_state_and_activations(shape: ModelShape) -> None:
    given = {
        "precision": Precision.BF16, "rank": 8, "modules": QKVO, "optimiser": "adamw",
        "micro_batch": 2, "sequence_tokens": 100, "cached_tokens": 0.0,
    }  # fmt: skip
    found = grpo_memory(shape, **given)
    assert found["gradients"] == 4 * 921_600
    assert found["optimiser"] == 8 * 921_600
    hidden, logits = 200 * 576, 200 * 49152 * 8
    assert found["activations"] == 30 * 2 * hidden + 34 * hidden + logits
    kept = grpo_memory(shape, **given, is_checkpointing=False)
    assert kept["activations"] == 30 * 34 * hidden + logits


def test_gpus_double_until_they_hold_it() -> None:
    assert [gpus_for(size, 10.0) for size in (1, 10, 11, 21, 41)] == [1, 1, 2, 4, 8]


def test_a_sample_takes_its_share_of_every_step() -> None:
    speed = EngineSpeed(step_s=0.1, sequence_s=0.01, prompt_s=0.5)
    assert speed.sample_s(10, 20) == pytest.approx(0.5 + 20 * (0.01 + 0.01))
    assert speed.slower(2).tokens_per_s(10, 20) == pytest.approx(speed.tokens_per_s(10, 20) / 2)


@pytest.mark.parametrize(("precision", "tokens_per_s"), MEASURED_TOKENS_PER_S.items())
def test_the_core_is_as_fast_as_it_was_measured(precision: Precision, tokens_per_s: float) -> None:
    core = DEVICES["cpu-core"]
    speed = core.engine_speed(NAMED["smollm2-135m"], precision, prompt_tokens=40, answer_tokens=24)
    assert speed.tokens_per_s(192, 24) == pytest.approx(tokens_per_s)


@pytest.mark.parametrize("mean", [50.0, 300.0, 500.0])
def test_made_up_lengths_keep_their_mean_below_the_cut(mean: float) -> None:
    found = made_up_lengths(mean, 0.5, 512)
    assert sum(found) / len(found) == pytest.approx(mean, rel=0.01)
    assert (min(found) >= 1, max(found) <= 512) == (True, True)
    assert made_up_lengths(mean, 0.0, 512) == [round(mean)]


@pytest.fixture
def setting() -> Setting:
    return Setting(NAMED["qwen2.5-32b"], DEVICES["h100"], 16, rank=16, population=128, batch=256)


def test_a_larger_model_takes_more_gpus_and_fewer_bits_take_fewer(setting: Setting) -> None:
    large = replace(setting, shape=NAMED["qwen2.5-72b"])
    assert plan_essa(large).gpus_needed == 4
    assert plan_essa(replace(large, precision=Precision.INT4)).gpus_needed == 1
    assert plan_essa(setting).gpus_needed == 1
    # Activations and the optimiser's state do not fit beside 61 GiB.
    assert plan_grpo(setting).gpus_needed == 2


def test_room_beside_the_weights_decides_how_many_are_decoded_together(setting: Setting) -> None:
    weights, adapter, table = 2 * 32_763_417_600, 2 * 33_554_432, 4 * 8192 * 129
    room = 0.9 * 80 * GIB - weights - adapter - table
    a_sequence = 2 * 2 * 64 * 8 * 128 * (128 + 1024)
    assert plan_essa(setting).sequences == int(room // a_sequence)
    assert sum(plan_essa(setting).memory.values()) <= 0.9 * 80 * GIB


def test_a_measured_rate_replaces_the_data_sheet_for_both(setting: Setting) -> None:
    given = replace(setting, tokens_per_s=100.0)
    found = plan_essa(given)
    assert found.engine.tokens_per_s(found.sequences, 512) == pytest.approx(100.0)
    assert found.rollout_s == pytest.approx(128 * 256 * 512 / 100 / 16)
    slower = plan_essa(given).rollout_s / plan_essa(setting).rollout_s
    assert plan_grpo(given).rollout_s / plan_grpo(setting).rollout_s == pytest.approx(slower)


def test_too_few_gpus_are_refused_with_what_is_needed(setting: Setting) -> None:
    with pytest.raises(SpecError, match="--gpus is 2, but one engine needs 4 of 80 GiB"):
        plan_essa(replace(setting, gpus=2, shape=NAMED["qwen2.5-72b"]))
    with pytest.raises(SpecError, match="--gpus-per-engine is 1"):
        plan_essa(replace(setting, shape=NAMED["qwen2.5-72b"], gpus_per_engine=1))


def test_what_the_papers_two_points_imply() -> None:
    essa, grpo = paper.scaling(paper.ESSA_MINUTES), paper.scaling(paper.GRPO_MINUTES)
    assert (essa.speedup, essa.more_gpus, essa.is_superlinear) == (10.0, 8.0, True)
    assert essa.fixed_frac < 0
    assert grpo.speedup == pytest.approx(2.667, abs=1e-3)
    # Minutes = 114.29 + 4571.43 / GPUs meets both points.
    assert grpo.fixed_frac == pytest.approx(114.2857 / 400, abs=1e-6)
    assert not grpo.is_superlinear
