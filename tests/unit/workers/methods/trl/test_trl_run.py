"""TRL's trainer on a tiny model: what it learns, what it leaves alone, and how it goes on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("trl")

import torch

from essa.parametrize.adapter import read_adapter
from tests.unit.workers.methods.trl.trainer_bench import (
    LETTERS,
    PROMPTS,
    experience,
    flat,
    make_build,
    share_of,
    train,
)

LOWER = list(LETTERS)[:26]
WANTED = 20


@pytest.fixture
def build(tiny_model, tiny_adapter, tmp_path):
    def make(name: str = "one", **settings):
        return make_build(
            tmp_path / name, tiny_model("llama"), tiny_adapter(strength=0.3), **settings
        )

    return make


def chance_of(build, weights, token: int) -> float:
    """Mean probability of a token after some prompts, under the base with an adapter."""
    from workers.methods.trl.model import load_trainable
    from workers.methods.trl.singular_values import adapter_modules

    model = load_trainable(build.model_folder, build.adapter_folder, build.method, 16)
    with torch.no_grad():
        for name, lora_A, lora_B in adapter_modules(model):
            lora_A.weight.copy_(torch.from_numpy(weights[name][0]))
            lora_B.weight.copy_(torch.from_numpy(weights[name][1]))
        prompts = torch.randint(3, 55, (32, 6), generator=torch.Generator().manual_seed(5))
        chances = model(prompts).logits[:, -1].softmax(dim=-1)
    return float(chances[:, token].mean())


def test_it_starts_from_the_warm_start_and_learns_what_is_rewarded(build):
    settings = build(steps=6)
    rounds = [experience(seed, share_of([WANTED]), often=WANTED) for seed in range(6)]
    start, *reports = train(settings, rounds)
    given = read_adapter(settings.adapter_folder)
    for module in given.modules:
        np.testing.assert_array_equal(start.weights[module.name][0], module.lora_A)
        np.testing.assert_array_equal(start.weights[module.name][1], module.lora_B)
    assert (start.step, start.metrics, start.train_s, start.is_saved) == (0, {}, 0.0, False)
    assert [one.step for one in reports] == [1, 2, 3, 4, 5, 6]
    assert [one.is_saved for one in reports] == 3 * [False, True]
    for one in reports:
        assert one.metrics["grad_norm"] > 0
        assert one.metrics["learning_rate"] == 1e-2
        assert one.metrics["entropy"] > 0
        assert one.train_s > 0
        assert one.peak_bytes > 10**8
    before = chance_of(settings, start.weights, WANTED)
    assert chance_of(settings, reports[-1].weights, WANTED) > 2 * before


@pytest.mark.parametrize(
    "method",
    [
        {"mini_batch": 4, "iterations": 2, "micro_batch": 2, "kl_coefficient": 0.05},
        {"parameters": "singular_values", "optimizer": "apollo_mini", "schedule": "cosine"},
        {"optimizer": "paged_adamw_8bit", "loss": "dr_grpo", "scale_advantages": "none"},
    ],
    ids=["batches", "singular values", "8 bit"],
)
def test_four_steps_are_two_and_a_resumed_two_bit_by_bit(build, method):
    settings = build(steps=4, **method)
    rounds = [experience(seed, share_of(LOWER)) for seed in range(4)]
    whole = train(settings, rounds)
    settings.checkpoints.rename(settings.checkpoints.with_name("whole"))
    train(settings, rounds[:2])
    updates = 2 * settings.updates
    assert (settings.checkpoints / f"checkpoint-{updates}").is_dir()
    resumed = train(settings, rounds[2:], start=2)
    assert [one.step for one in resumed] == [2, 3, 4]
    for one, other in zip(resumed, whole[2:], strict=True):
        np.testing.assert_array_equal(flat(one), flat(other))
    for one, other in zip(resumed[1:], whole[3:], strict=True):
        assert one.metrics == other.metrics
    assert not np.array_equal(flat(whole[4]), flat(whole[2]))


def test_a_step_has_as_many_updates_as_its_batches_and_passes(build):
    settings = build(steps=1, mini_batch=4, micro_batch=2, iterations=3)
    train(settings, [experience(0, share_of(LOWER))])
    assert settings.updates == 6
    assert [one.name for one in settings.checkpoints.glob("checkpoint-*")] == ["checkpoint-6"]


def test_a_completion_without_a_score_moves_nothing(build):
    given = experience(0, share_of(LOWER))
    given.scores[1] = None
    other = replace(given, completion_ids=[list(one) for one in given.completion_ids])
    # Other tokens, other length: no gradient comes from them, and no average counts them.
    other.completion_ids[1] = [LOWER[0]] * 2
    empty = replace(given, completion_ids=[list(one) for one in given.completion_ids])
    empty.completion_ids[1] = []
    zero = replace(given, scores=[0.0 if one is None else one for one in given.scores])
    ends = {}
    for name, one in {"given": given, "other": other, "empty": empty, "zero": zero}.items():
        # An optimiser whose step shows the size of a gradient.
        settings = build(name, steps=1, optimizer="sgd", kl_coefficient=0.1)
        ends[name] = flat(train(settings, [one])[-1])
    np.testing.assert_allclose(ends["other"], ends["given"], rtol=0, atol=1e-7)
    np.testing.assert_allclose(ends["empty"], ends["given"], rtol=0, atol=1e-7)
    assert np.abs(ends["zero"] - ends["given"]).max() > 1e-5


def test_groups_without_a_difference_teach_nothing(build):
    settings = build(steps=1)
    start, end = train(settings, [experience(0, lambda answer: 0.5)])
    np.testing.assert_array_equal(flat(end), flat(start))
    assert end.metrics["groups_without_signal_frac"] == 1.0


def test_a_kl_coefficient_keeps_it_near_the_warm_start(build):
    moved = {}
    for coefficient in (0.0, 5.0):
        settings = build(f"kl {coefficient}", steps=4, kl_coefficient=coefficient, optimizer="sgd")
        reports = train(settings, [experience(seed, share_of(LOWER)) for seed in range(4)])
        moved[coefficient] = np.linalg.norm(flat(reports[-1]) - flat(reports[0]))
        assert ("kl" in reports[-1].metrics) == (coefficient > 0)
        if coefficient:
            assert (
                reports[-1].metrics["kl"] > reports[1].metrics["kl"] == pytest.approx(0, abs=1e-6)
            )
    assert moved[5.0] < moved[0.0]


@pytest.mark.parametrize("precision", ["bf16", "int8", "nf4"])
def test_gradients_go_through_a_small_base_to_an_adapter_in_float32(build, precision):
    if precision != "bf16":
        pytest.importorskip("bitsandbytes")
    settings = build(steps=1, precision=precision, gradient_checkpointing=precision == "nf4")
    start, end = train(settings, [experience(0, share_of(LOWER))])
    module = read_adapter(settings.adapter_folder).modules[0]
    np.testing.assert_array_equal(start.weights[module.name][1], module.lora_B)
    assert np.isfinite(flat(end)).all()
    moved = np.abs(flat(end) - flat(start))
    # AdamW's first step is the learning rate; bfloat16 weights of this size would swallow some.
    assert np.median(moved[moved > 0]) == pytest.approx(1e-2, rel=0.05)


def test_what_goes_wrong_in_its_thread_comes_out(build):
    settings = build()
    broken = experience(0, share_of(LOWER))
    del broken.completion_ids[PROMPTS:]
    with pytest.raises(ValueError, match="zip"):
        train(settings, [broken])
    missing = replace(settings, model_folder=settings.checkpoints / "nowhere")
    with pytest.raises(Exception, match="nowhere"):
        train(missing, [])


@pytest.mark.parametrize(
    "method",
    [{}, {"gradient_checkpointing": True}, {"kl_coefficient": 0.1}],
    ids=["plain", "gradient checkpointing", "kl"],
)
def test_rows_in_threads_of_their_own_train_the_same(build, method):
    rounds = [experience(seed, share_of(LOWER)) for seed in range(2)]
    whole = train(build("whole", **method), rounds)
    apart = train(replace(build("apart", **method), threads=3), rounds)
    moved = flat(whole[-1]) - flat(whole[0])
    assert np.abs(moved).max() > 1e-3
    # Adam's first steps follow signs: a gradient near zero may go either way.
    far = np.abs(flat(apart[-1]) - flat(whole[-1])) > 1e-3
    assert far.mean() < 0.01
    again = train(replace(build("again", **method), threads=3), rounds)
    np.testing.assert_array_equal(flat(again[-1]), flat(apart[-1]))
