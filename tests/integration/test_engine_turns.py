"""Training and engines on the same GPU: who holds it when, by Ray's accounting.

Ray is told of GPUs that are not there, so its side is real: engines and trainer ask for a device,
get one or wait, and what dies gives it back. Torch sees no GPU and computes on the CPU, so nothing
here says that memory suffices or that CUDA gives it back in time; `tests/gpu` does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("peft")

import ray

from essa.errors import JobCancelledError, SpecError, TrainerError
from essa.events import Event, StageEvent, WarmStartEvent
from essa.parametrize.adapter import read_adapter
from essa.ports import RunControl, RunSite
from essa.spec import AlignmentJobSpec, LoraSpec, SftSpec
from essa.testing import RecordingSink
from tests.integration.test_recorded_run import NeverCancelled, make_job
from workers import runner
from workers.cluster.ray_cluster import nodes_of_cluster
from workers.runner import run_alignment_job
from workers.warm_start.on_gpu import train_on_gpu
from workers.warm_start.pairs import SftPair

pytestmark = pytest.mark.engine

LORA = {"rank": 2, "lora_alpha": 8.0}
SAMPLED = {"type": "rejection_sampling", "samples_per_prompt": 4, "lora": LORA}


@pytest.fixture(autouse=True)
def cluster(gpus, monkeypatch) -> Iterator[None]:
    """A local cluster that counts so many GPUs."""

    @contextmanager
    def counted() -> Iterator[list]:
        yield nodes_of_cluster()

    ray.init(
        address="local", include_dashboard=False, log_to_driver=False, num_cpus=2, num_gpus=gpus
    )
    monkeypatch.setattr(runner, "ray_cluster", counted)
    yield
    ray.shutdown()


class GpuSink(RecordingSink):
    """Notes how many GPUs are free whenever a stage is told."""

    def __init__(self) -> None:
        super().__init__()
        self.free: list[tuple[str, float]] = []

    def emit(self, event: Event) -> None:
        super().emit(event)
        if isinstance(event, StageEvent):
            time.sleep(0.3)  # until Ray's view of its own resources is up to date
            free = ray.available_resources().get("GPU", 0.0)
            self.free.append((event.message, free))


def job(folder: Path, model: Path, **changes: object) -> AlignmentJobSpec:
    spec = make_job(folder, model, folder / "none").model_dump(mode="json")
    spec["engine"]["workers"] = 1
    spec["warm_start"] = SAMPLED
    spec["rollout"] = {"max_tokens": 6}
    return AlignmentJobSpec.model_validate(spec | changes)


def run(spec: AlignmentJobSpec, folder: Path, control: RunControl | None = None) -> GpuSink:
    sink = GpuSink()
    run_alignment_job(
        spec,
        RunSite(folder / "run", folder / "cache", sink, control or NeverCancelled(), Path),
    )
    return sink


def starts(sink: GpuSink) -> list[str]:
    """What happened to engines and training, in order."""
    words = {"starting transformers": "start", "stopping": "stop", "training a": "train"}
    # A start is told again with every engine that is there.
    told = [one.message for one in sink.of(StageEvent) if not one.done]
    return [name for text in told for begin, name in words.items() if text.startswith(begin)]


@pytest.mark.parametrize(
    ("gpus", "expected"),
    [(1, ["start", "train", "stop", "start"]), (2, ["start", "train"])],
)
def test_engines_give_way_to_a_training_that_finds_no_other_gpu(
    tiny_model, tmp_path, gpus, expected
):
    sink = run(job(tmp_path, tiny_model("llama")), tmp_path)
    assert starts(sink) == expected
    loading = next(free for text, free in sink.free if text.startswith("loading the base"))
    # One GPU: the trainer has it and no engine does. Two: engine and trainer have one each.
    assert loading == 0
    assert sink.of(WarmStartEvent)[0].seconds > 0
    adapter = read_adapter(tmp_path / "run" / "warm_start")
    assert {one.rank for one in adapter.modules} == {2}


@pytest.mark.parametrize("gpus", [1])
def test_pairs_are_trained_on_before_any_engine_starts(tiny_model, tmp_path, gpus):
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"prompt": "train 1:", "completion": "YES"}\n' * 4)
    spec = job(
        tmp_path, tiny_model("llama"), warm_start={"type": "sft", "path": str(path), "lora": LORA}
    )
    assert starts(run(spec, tmp_path)) == ["train", "start"]


@pytest.mark.cores
@pytest.mark.parametrize("gpus", [0])
def test_on_cores_engines_stay_while_the_warm_start_trains(tiny_model, tmp_path, gpus):
    assert starts(run(job(tmp_path, tiny_model("llama")), tmp_path)) == ["start", "train"]


@pytest.mark.parametrize("gpus", [1])
def test_gradients_without_a_gpu_of_their_own_are_refused_before_anything_starts(
    tiny_model, tmp_path, gpus
):
    spec = job(tmp_path, tiny_model("llama"), method={"type": "grpo", "group_size": 2})
    sink = GpuSink()
    with pytest.raises(SpecError, match=r"hold 1 of the 1 .* 2 GPUs"):
        run_alignment_job(
            spec,
            RunSite(tmp_path / "run", tmp_path / "cache", sink, NeverCancelled(), Path),
        )
    assert starts(sink) == []


def gpu_training(model: Path, out: Path, pairs: list[SftPair], **changes: Any) -> list[str]:
    told: list[str] = []

    def say(text: str, *counted: float | None, **named: float | None) -> None:
        told.append(" of ".join([text, *map(str, counted[:2])]))

    given: dict[str, Any] = {"progress": say, "should_stop": lambda: False} | changes
    sft = SftSpec(batch_size=2, max_length=90, epochs=2)
    train_on_gpu(model, pairs, LoraSpec(rank=2), sft, 0, out, training="float32", **given)
    return told


def until(check: Callable[[], bool]) -> None:
    give_up_s = time.monotonic() + 30
    while not check():
        assert time.monotonic() < give_up_s
        time.sleep(0.1)


PAIRS = [SftPair((5, 6, 7), (8, 9, 1))] * 8


@pytest.mark.parametrize("gpus", [1])
def test_a_cancelled_training_gives_its_gpu_back_and_leaves_nothing(tiny_model, tmp_path, gpus):
    out = tmp_path / "run" / "warm_start"
    with pytest.raises(JobCancelledError):
        gpu_training(tiny_model("llama"), out, PAIRS, should_stop=lambda: True)
    until(lambda: ray.available_resources().get("GPU", 0) == 1)
    assert not out.exists()
    # The next one finds it free, tells how far it is, and replaces what is there.
    out.mkdir(parents=True)
    (out / "old").touch()
    told = gpu_training(tiny_model("llama"), out, PAIRS)
    assert any(text.startswith("training steps") and text.endswith("8 of 8") for text in told)
    assert {one.name for one in out.iterdir()} >= {
        "adapter_config.json",
        "adapter_model.safetensors",
    }
    assert not (out / "old").exists()


@pytest.mark.parametrize("gpus", [1])
def test_what_fails_in_the_trainers_process_is_told_as_it_was_raised(tiny_model, tmp_path, gpus):
    with pytest.raises(TrainerError, match=r"has no folder .*nowhere"):
        gpu_training(tmp_path / "nowhere", tmp_path / "out", PAIRS)
    too_long = [SftPair(tuple(range(3, 60)), tuple(range(3, 60)))]
    with pytest.raises(Exception, match=r"warm_start\.sft\.max_length"):
        gpu_training(tiny_model("llama"), tmp_path / "out", too_long)


@pytest.mark.parametrize("gpus", [1])
def test_a_reward_model_leaves_a_trainer_its_gpu(gpus):
    from reward.spec.reward_model import RewardModelSpec
    from workers.reward_models.opening import _placed

    spec = RewardModelSpec(model="any")
    assert [_placed(spec, kept)[0] for kept in (0, 1)] == ["cuda", "cpu"]
