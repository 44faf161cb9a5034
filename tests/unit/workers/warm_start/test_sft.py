from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from essa.errors import AdapterError, DataError, JobCancelledError
from essa.spec import LoraSpec, SftSpec
from workers.warm_start.batches import IGNORED, check_pairs, collate, plan_batches
from workers.warm_start.pairs import SftPair
from workers.warm_start.sft import answer_loss, schedule, train_lora

LORA = LoraSpec(rank=4, lora_alpha=8)
SFT = SftSpec(learning_rate=1e-2, epochs=6, batch_size=4, max_length=32)
ANSWER = (20, 21, 22, 1)


def ignore(message: str, *counted: float | None) -> None:
    del message, counted


def make_pairs(count: int = 12) -> list[SftPair]:
    return [SftPair(tuple(range(30, 35 + i % 4)), ANSWER) for i in range(count)]


def train(folder: Path, out: Path, **changes) -> Path:
    arguments: dict[str, Any] = {
        "pairs": make_pairs(),
        "lora": LORA,
        "sft": SFT,
        "seed": 0,
        "progress": ignore,
    }
    return train_lora(folder, out_dir=out, **(arguments | changes))


@pytest.fixture(scope="module")
def adapter(tiny_model, tmp_path_factory) -> Path:
    return train(tiny_model("llama"), tmp_path_factory.mktemp("trained") / "adapter")


def test_training_makes_the_answers_likely(tiny_model, adapter):
    base = AutoModelForCausalLM.from_pretrained(tiny_model("llama"))
    unseen = [SftPair((40, 41, 33, 34, 35), ANSWER)]
    with torch.no_grad():
        before = answer_loss(base, unseen)
        after = answer_loss(PeftModel.from_pretrained(base, adapter), unseen)
    assert after < 0.7 * before


def test_every_step_is_told_with_its_loss_and_the_seconds_left(tiny_model, tmp_path):
    told = []
    train(tiny_model("llama"), tmp_path / "a", progress=lambda *said: told.append(said))
    steps = [said for said in told if len(said) == 4]
    total = math.ceil(12 / SFT.batch_size) * SFT.epochs
    assert [said[1:3] for said in steps] == [(step, total) for step in range(1, total + 1)]
    losses = [float(said[0].rpartition("loss ")[2]) for said in steps]
    assert losses[-1] < losses[0]
    assert all(said[3] > 0 for said in steps[:-1])
    assert steps[-1][3] == 0


def test_adapter_has_the_shape_asked_for(adapter):
    tensors = load_file(adapter / "adapter_model.safetensors")
    names = {name.split(".")[-3] for name in tensors}
    assert names == set(LORA.target_modules)
    assert all(tensor.dtype == torch.float32 for tensor in tensors.values())
    assert {min(tensor.shape) for tensor in tensors.values()} == {LORA.rank}


def test_same_seed_gives_the_same_adapter_and_another_seed_another(tiny_model, adapter, tmp_path):
    expected = load_file(adapter / "adapter_model.safetensors")
    again = load_file(train(tiny_model("llama"), tmp_path / "a") / "adapter_model.safetensors")
    assert all(torch.equal(again[name], expected[name]) for name in expected)
    other = train(tiny_model("llama"), tmp_path / "b", seed=1)
    other = load_file(other / "adapter_model.safetensors")
    assert not any(torch.equal(other[name], expected[name]) for name in expected)


def test_pairs_in_threads_of_their_own_train_the_same(tiny_model, adapter, tmp_path):
    expected = load_file(adapter / "adapter_model.safetensors")
    found, again = (
        load_file(
            train(tiny_model("llama"), tmp_path / name, threads=3) / "adapter_model.safetensors"
        )
        for name in ("a", "b")
    )
    for name, values in expected.items():
        assert torch.equal(found[name], again[name])
        assert (found[name] - values).norm() < 0.02 * values.norm()


def test_global_random_state_and_threads_are_left_alone(tiny_model, tmp_path):
    torch.manual_seed(3)
    expected = torch.rand(1)
    threads = torch.get_num_threads()
    torch.manual_seed(3)
    train(tiny_model("llama"), tmp_path / "a")
    assert torch.equal(torch.rand(1), expected)
    assert torch.get_num_threads() == threads


def test_loss_counts_answer_tokens_only_and_ignores_padding(tiny_model):
    model = AutoModelForCausalLM.from_pretrained(tiny_model("llama"))
    pairs = [SftPair((30, 31, 32), ANSWER), SftPair((33,), (24, 1))]
    total = 0.0
    with torch.no_grad():
        for pair in pairs:
            ids = torch.tensor([pair.prompt_ids + pair.completion_ids])
            logprobs = model(ids).logits[0].log_softmax(-1)
            start = len(pair.prompt_ids)
            total -= sum(
                logprobs[start + i - 1, token].item() for i, token in enumerate(pair.completion_ids)
            )
        expected = total / sum(len(pair.completion_ids) for pair in pairs)
        assert answer_loss(model, pairs).item() == pytest.approx(expected, rel=1e-5)


def test_collated_batch_is_left_padded_with_prompts_unlabelled():
    batch = collate([SftPair((5, 6), (7,)), SftPair((8,), (9, 1, 2))], torch.device("cpu"))
    assert batch.input_ids.tolist() == [[0, 5, 6, 7], [8, 9, 1, 2]]
    assert batch.attention_mask.tolist() == [[0, 1, 1, 1], [1, 1, 1, 1]]
    assert batch.position_ids.tolist() == [[0, 0, 1, 2], [0, 1, 2, 3]]
    assert batch.labels.tolist() == [[IGNORED] * 3 + [7], [IGNORED, 9, 1, 2]]
    assert batch.tail == 3


def test_every_pair_is_used_once_an_epoch_with_similar_lengths_together():
    pairs = [SftPair((1,) * (1 + i % 7), (2,)) for i in range(30)]
    plan = plan_batches(pairs, 4, 2, seed=0)
    assert sorted(i for batch in plan for i in batch) == sorted([*range(30), *range(30)])
    assert plan != plan_batches(pairs, 4, 2, seed=1)
    spread = [max(len(pairs[i]) for i in b) - min(len(pairs[i]) for i in b) for b in plan]
    assert max(spread) <= 2


@pytest.mark.parametrize("steps", [1, 5, 20, 200])
def test_schedule_warms_up_over_a_tenth_and_then_falls(steps):
    factors = [schedule(steps)(step) for step in range(steps)]
    peak = factors.index(max(factors))
    assert peak == (math.ceil(0.1 * steps) if steps > 1 else 0)
    assert all(0 < factor <= 1 for factor in factors)
    assert all(a > b for a, b in zip(factors[peak:], factors[peak + 1 :], strict=False))


@pytest.mark.parametrize(
    ("pairs", "problem"),
    [
        ([], "no pairs"),
        ([SftPair((1,), ())], "pair 1 .*empty answer"),
        ([SftPair((), (1,))], "pair 1 .*empty prompt"),
        (
            [SftPair((1,), (2,)), SftPair((1,) * 30, (2,) * 3)],
            r"pair 2 .*33 tokens.*sft\.max_length is 32",
        ),
    ],
)
def test_unusable_pairs_are_named(pairs, problem):
    with pytest.raises(DataError, match=problem):
        check_pairs(pairs, 32)


def test_unknown_target_module_lists_the_candidates(tiny_model, tmp_path):
    lora = LoraSpec(rank=4, target_modules=("q_proj", "query_key_value"))
    with pytest.raises(AdapterError, match=r"'query_key_value'.*down_proj.*q_proj"):
        train(tiny_model("llama"), tmp_path / "a", lora=lora)


def test_rank_beyond_the_smallest_layer_is_refused(tiny_model, tmp_path):
    with pytest.raises(AdapterError, match=r"rank is 65.*k_proj has a side of 64"):
        train(tiny_model("llama"), tmp_path / "a", lora=LoraSpec(rank=65))


def test_quantised_base_is_refused(tiny_model, tmp_path):
    folder = Path(shutil.copytree(tiny_model("llama"), tmp_path / "model"))
    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text(config.replace("{", '{"quantization_config": {},', 1))
    with pytest.raises(AdapterError, match="quantised"):
        train(folder, tmp_path / "a")


def test_diverging_training_names_the_learning_rate(tiny_model, tmp_path):
    sft = SFT.model_copy(update={"learning_rate": 1e30})
    with pytest.raises(AdapterError, match=r"diverged.*warm_start\.sft\.learning_rate"):
        train(tiny_model("llama"), tmp_path / "a", sft=sft)
    assert list(tmp_path.iterdir()) == []


def test_cancelling_stops_within_a_step_and_keeps_the_old_adapter(tiny_model, adapter, tmp_path):
    out = Path(shutil.copytree(adapter, tmp_path / "adapter"))
    before = (out / "adapter_model.safetensors").read_bytes()
    answers = iter([False, False, True])
    with pytest.raises(JobCancelledError, match="step 3 of 18"):
        train(tiny_model("llama"), out, seed=5, should_stop=lambda: next(answers))
    assert (out / "adapter_model.safetensors").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]


def test_retraining_replaces_the_adapter(tiny_model, adapter, tmp_path):
    out = Path(shutil.copytree(adapter, tmp_path / "adapter"))
    before = (out / "adapter_model.safetensors").read_bytes()
    assert train(tiny_model("llama"), out, seed=5) == out
    assert (out / "adapter_model.safetensors").read_bytes() != before
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]
