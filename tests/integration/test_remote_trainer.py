"""The trainer's process seen from the job: what ends it, and what the user is told."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np
import psutil
import pytest

pytest.importorskip("trl")
pytest.importorskip("ray")

from essa.errors import JobCancelledError, SpecError, TrainerError
from essa.parametrize.weights import WeightCodec
from essa.ports import GroupRollouts
from essa.types import Completion, PopulationScores, Row
from tests.unit.workers.methods.trl.trainer_bench import GROUP, PROMPTS, make_build
from workers.cluster.ray_cluster import ray_cluster
from workers.methods.trl.remote_trainer import RemoteTrainer

pytestmark = pytest.mark.engine

NAN = float("nan")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One local cluster for all: it is what takes long. A library is broken in its processes."""
    folder = tmp_path_factory.mktemp("broken")
    (folder / "pytorch_optimizer.py").write_text("raise ImportError('not here')")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(folder), *sys.path]))
        with ray_cluster():
            yield


@pytest.fixture
def open_trainer(cluster, tiny_model, tiny_adapter, tmp_path) -> Iterator[Callable]:
    opened: list[RemoteTrainer] = []

    def make(check: Callable[[], None] = lambda: None, **method) -> RemoteTrainer:
        adapter = tiny_adapter(strength=0.3)
        build = make_build(tmp_path, tiny_model("llama"), adapter, **method)
        letters = [ord(letter) % 50 + 3 for letter in "prompt"]
        trainer = RemoteTrainer(
            build, WeightCodec(adapter), lambda text: letters, gpus=0, check=check
        )
        opened.append(trainer)
        return trainer

    yield make
    for trainer in opened:
        trainer.close()


def rollouts(rewards_P_G: np.ndarray, lost: int | None = None) -> GroupRollouts:
    """Answers of three tokens; prompt `lost` has none, as where its rollout failed."""
    rows = [Row(index, f"prompt {index}") for index in range(PROMPTS)]
    answers = [
        []
        if prompt == lost
        else [Completion("abc", (3 + prompt, 7 + n, 11), "stop") for n in range(GROUP)]
        for prompt in range(PROMPTS)
    ]
    means = rewards_P_G.mean(axis=1)[None, :]
    scores = PopulationScores(means, {}, [["abc"] * PROMPTS], 12, 24, 0.1, 0.1)
    return GroupRollouts(rows, rewards_P_G, answers, scores)


def rewards() -> np.ndarray:
    return np.arange(float(PROMPTS * GROUP)).reshape(PROMPTS, GROUP) ** 2


def processes() -> list[psutil.Process]:
    found = psutil.Process().children(recursive=True)
    return [one for one in found if "TrainerActor" in " ".join(one.cmdline())]


def test_it_trains_from_zeros_and_a_failed_rollout_is_no_failure_of_its_own(open_trainer):
    trainer = open_trainer(steps=3)
    news = trainer.start(0)
    np.testing.assert_array_equal(news.vector, 0)
    moved = trainer.step(rollouts(rewards()))
    assert (moved.generation, moved.is_saved) == (1, False)
    assert np.abs(moved.vector).max() > 0
    missing = rewards()
    missing[1] = NAN
    again = trainer.step(rollouts(missing, lost=1))
    assert again.generation == 2
    assert np.isfinite(again.vector).all()
    assert not np.array_equal(again.vector, moved.vector)
    assert trainer.peak_bytes > 10**8


def test_a_killed_process_names_the_setting_that_saves_memory(open_trainer):
    trainer = open_trainer()
    trainer.start(0)
    for one in processes():
        os.kill(one.pid, signal.SIGKILL)
    with pytest.raises(TrainerError, match=r"method\.micro_batch, now 4") as caught:
        trainer.step(rollouts(rewards()))
    assert caught.value.detail["field"] == "method.micro_batch"


def test_a_setting_at_fault_comes_through_as_one(open_trainer):
    trainer = open_trainer(optimizer="lion")
    with pytest.raises(SpecError, match="pytorch-optimizer") as caught:
        trainer.start(0)
    assert caught.value.detail["field"] == "method.optimizer"


def test_cancelling_does_not_wait_for_the_trainer(open_trainer):
    looks = []

    def check() -> None:
        looks.append(time.monotonic())
        if len(looks) > 1:
            raise JobCancelledError("the job was cancelled")

    # Loading alone takes longer than the time between two looks.
    with pytest.raises(JobCancelledError):
        open_trainer(check).start(0)
    assert len(looks) == 2
