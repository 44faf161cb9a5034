"""From `warm_start` to an adapter folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("peft")

from essa.errors import DataError, JobCancelledError
from essa.parametrize.adapter import read_adapter
from essa.ports import GroupRollouts
from essa.spec import (
    AdapterWarmStartSpec,
    LoraSpec,
    RejectionSamplingWarmStartSpec,
    SftSpec,
    SftWarmStartSpec,
    TextPromptSpec,
)
from essa.types import Completion, PopulationScores, Row
from workers.prompting import PromptEncoder
from workers.warm_start import here
from workers.warm_start.pairs import SftPair
from workers.warm_start.stage import WarmStartResult, make_warm_start, warm_start_lora

ROWS = tuple(Row(index, f"ask {index}: ", {"prompt": f"ask {index}: "}) for index in range(4))
LORA = LoraSpec(rank=2, lora_alpha=4.0, target_modules=("q_proj", "v_proj"))


class WrittenSamples:
    """Answers `sample` from what the test wrote: per prompt, (reward, text, end)."""

    def __init__(self, samples: Sequence[Sequence[tuple[float, str, str]]]) -> None:
        self._samples = samples
        self.asked: dict[str, Any] = {}

    def sample(
        self, vector: None, rows: Sequence[Row], *, samples: int, temperature: float, label: str
    ) -> GroupRollouts:
        self.asked = {"rows": tuple(rows), "samples": samples, "temperature": temperature}
        kept = self._samples[: len(rows)]
        rewards = np.array([[reward for reward, _, _ in prompt] for prompt in kept])
        texts = [[Completion(text, (), end) for _, text, end in prompt] for prompt in kept]
        scores = PopulationScores(
            rewards.mean(axis=1)[None], {}, [[one[0].text for one in texts]], 1000, 234, 1.0, 0.0
        )
        return GroupRollouts(rows, rewards, texts, scores)


@dataclass
class Bench:
    """Everything `make_warm_start` needs, and what it said."""

    model: Path
    encoder: PromptEncoder
    out_dir: Path
    said: list[str] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)
    """When engines were asked for, and when to give way."""

    def _engines(self) -> Any:
        self.steps.append("engines")
        return self.evaluator

    def _make_room(self) -> int:
        self.steps.append("room")
        return 0

    def say(self, text: str, *counted: float | None, **named: float | None) -> None:
        self.said.append(text)

    def make(self, spec, samples=(), should_stop: Callable[[], bool] = lambda: False):
        self.evaluator = WrittenSamples(samples)
        self.steps = []
        return make_warm_start(
            spec,
            model_folder=self.model,
            train=ROWS,
            evaluator=self._engines,
            make_room=self._make_room,
            encoder=self.encoder,
            out_dir=self.out_dir,
            seed=0,
            training="float32",
            say=self.say,
            should_stop=should_stop,
        )


@pytest.fixture
def bench(tiny_model, tmp_path) -> Bench:
    model = tiny_model("llama")
    return Bench(model, PromptEncoder(model, TextPromptSpec()), tmp_path / "run" / "warm_start")


@pytest.fixture
def trained_on(monkeypatch) -> list[SftPair]:
    """The pairs that training would get; it only leaves its folder behind."""
    pairs: list[SftPair] = []

    def record(model_folder, given, lora, sft, seed, out_dir, say, training, should_stop) -> Path:
        pairs.extend(given)
        out_dir.mkdir(parents=True)
        return out_dir

    monkeypatch.setattr(here, "train_lora", record)
    return pairs


def sampling(**settings: Any) -> RejectionSamplingWarmStartSpec:
    return RejectionSamplingWarmStartSpec(lora=LORA, samples_per_prompt=2, **settings)


def pair(bench: Bench, prompt: int, text: str, *, is_finished: bool) -> SftPair:
    return SftPair(
        tuple(bench.encoder.token_ids(ROWS[prompt].prompt)),
        tuple(bench.encoder.answer_ids(text, is_finished=is_finished)),
    )


def test_it_trains_on_the_best_answer_of_each_prompt_that_has_one(bench, trained_on):
    samples = [
        [(0.1, "bad", "stop"), (0.9, "good", "stop")],
        [(0.5, "same", "stop"), (0.5, "same again", "stop")],
        [(float("nan"), "", "stop"), (0.2, "only", "stop")],
        [(0.8, "better", "length"), (0.3, "worse", "stop")],
    ]
    result = bench.make(sampling(temperature=0.7), samples)
    assert trained_on == [
        pair(bench, 0, "good", is_finished=True),
        # Cut short: no end token is taught.
        pair(bench, 3, "better", is_finished=False),
    ]
    assert trained_on[0].completion_ids[-1] == bench.encoder.end_id
    assert trained_on[1].completion_ids[-1] != bench.encoder.end_id
    assert (result.folder, result.tokens, result.samples) == (bench.out_dir, 1234, 8)
    assert 0 < result.seconds < 60
    assert bench.evaluator.asked == {"rows": ROWS, "samples": 2, "temperature": 0.7}
    assert any("kept 2 of 4" in text for text in bench.said)
    assert bench.steps == ["engines", "room"]


def test_a_least_reward_is_kept_to(bench, trained_on):
    samples = [[(0.1, "a", "stop"), (0.4, "b", "stop")]] * 3 + [
        [(0.6, "c", "stop"), (0.6, "d", "stop")]
    ]
    bench.make(sampling(min_reward=0.5), samples)
    assert trained_on == [pair(bench, 3, "c", is_finished=True)]


def test_only_so_many_prompts_are_sampled(bench, trained_on):
    bench.make(sampling(max_prompts=2), [[(0.1, "a", "stop"), (0.4, "b", "stop")]] * 4)
    assert bench.evaluator.asked["rows"] == ROWS[:2]
    assert len(trained_on) == 2


def test_empty_answers_are_not_taught(bench, trained_on):
    samples = [[(0.9, " \n", "stop"), (0.1, "text", "stop")]] * 3
    samples.append([(0.9, "text", "stop"), (0.1, "", "stop")])
    bench.make(sampling(), samples)
    assert trained_on == [pair(bench, 3, "text", is_finished=True)]


def test_nothing_but_empty_answers_is_an_error_that_names_a_setting(bench, trained_on):
    with pytest.raises(DataError, match=r"rollout\.max_tokens"):
        bench.make(sampling(), [[(0.9, "", "stop"), (0.1, "text", "stop")]] * 4)
    assert not bench.out_dir.exists()


def test_a_finished_warm_start_is_reused(bench, trained_on):
    samples = [[(0.1, "a", "stop"), (0.4, "b", "stop")]] * 4
    bench.make(sampling(), samples)
    bench.said.clear()
    again = bench.make(sampling(), samples)
    assert again == WarmStartResult(bench.out_dir, 0)
    assert bench.evaluator.asked == {}
    assert len(trained_on) == 4
    assert bench.said == []


def test_an_adapter_is_taken_where_it_is(bench, trained_on, monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    bench.out_dir.mkdir(parents=True)
    result = bench.make(AdapterWarmStartSpec(path="~/adapter"))
    assert result == WarmStartResult(Path("/home/someone/adapter"), 0)
    assert trained_on == []


def test_pairs_from_a_file_cost_no_samples(bench, trained_on, tmp_path):
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps({"prompt": "ask 1: ", "completion": "yes"}) + "\n")
    result = bench.make(SftWarmStartSpec(path=str(path), lora=LORA))
    assert trained_on == [pair(bench, 1, "yes", is_finished=True)]
    assert result.tokens == 0
    assert bench.evaluator.asked == {}
    assert bench.steps == ["room"]  # engines start afterwards


def test_the_whole_stage_leaves_an_adapter_of_the_asked_shape(bench):
    spec = sampling(sft=SftSpec(epochs=2, batch_size=2))
    result = bench.make(spec, [[(0.1, "no", "stop"), (0.9, "yes", "stop")]] * 4)
    adapter = read_adapter(result.folder)
    assert {module.rank for module in adapter.modules} == {2}
    assert {module.name.rsplit(".", 1)[-1] for module in adapter.modules} == {"q_proj", "v_proj"}
    assert all(np.abs(module.lora_B).max() > 0 for module in adapter.modules)


def test_a_cancelled_training_leaves_nothing_to_reuse(bench):
    samples = [[(0.1, "no", "stop"), (0.9, "yes", "stop")]] * 4
    with pytest.raises(JobCancelledError):
        bench.make(sampling(), samples, should_stop=lambda: True)
    assert not bench.out_dir.exists()


def test_the_shape_is_known_where_the_job_trains_the_adapter():
    assert warm_start_lora(sampling()) == LORA
    assert warm_start_lora(SftWarmStartSpec(path="x", lora=LORA)) == LORA
    assert warm_start_lora(AdapterWarmStartSpec(path="x")) is None
