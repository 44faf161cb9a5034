"""Reward models as processes on a real Ray cluster: scores, refusals, losses."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import psutil
import ray
from ray.util import placement_group

from essa.errors import ClusterError
from reward.errors import RewardConfigError
from reward.registry import build_reward
from reward.resources import RewardResources
from reward.sample import Sample
from reward.spec.reward_model import RewardModelSpec
from workers.cluster.ray_cluster import ray_cluster
from workers.reward_models.opening import open_scorer

pytestmark = pytest.mark.engine

TIMEOUT_S = 20.0


@pytest.fixture(scope="module")
def busy_cluster() -> Iterator[None]:
    """A cluster whose CPUs are all taken."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUDA_VISIBLE_DEVICES", "")
        with ray_cluster() as nodes:
            # As engines do.
            taken = placement_group([{"CPU": node.cpus} for node in nodes])
            assert taken.wait(60)
            yield


def spec_of(folder: Path | str, **spec: Any) -> RewardModelSpec:
    return RewardModelSpec(model=str(folder), precision="fp32", **spec)


def samples(*answers: str) -> list[Sample]:
    messages = ({"role": "user", "content": "the train"},)
    return [Sample(answer, messages=messages) for answer in answers]


def process_of(scorer: Any) -> int:
    return ray.get(scorer._actor.__ray_call__.remote(lambda self: os.getpid()))


def test_outside_a_cluster_none_is_started(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="this process is in none"):
        open_scorer(spec_of(tmp_path), tmp_path)


def test_a_model_scores_beside_engines_that_hold_every_cpu_and_is_replaced_once(
    busy_cluster: None, tiny_reward_models: dict[str, Path], tmp_path: Path
) -> None:
    told: list[str] = []
    opened: list[Any] = []

    def opens(spec: RewardModelSpec) -> Any:
        opened.append(open_scorer(spec, tmp_path, told.append))
        return opened[-1]

    spec = spec_of(tiny_reward_models["one_head"], batch_size=3, timeout_s=TIMEOUT_S)
    reward = build_reward(spec, resources=RewardResources(open_scorer=opens))
    asked = samples("thanks kindly", "stupid nonsense", "the house", "please", "idiot " * 9)
    first = [result.value for result in reward.score(asked)]
    assert first[0] > first[2] > first[1]
    (scorer,) = opened

    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda _: reward.score(asked), range(8)))
    assert all([result.value for result in one] == pytest.approx(first) for one in found)

    killed = process_of(scorer)
    os.kill(killed, signal.SIGKILL)
    assert [result.value for result in reward.score(asked)] == pytest.approx(first)
    assert process_of(scorer) != killed
    assert [text for text in told if "was lost" in text and "died" in text]

    scorer._spec = spec.model_copy(update={"timeout_s": 0.5})
    hung = process_of(scorer)
    os.kill(hung, signal.SIGSTOP)
    late, *rest = reward.score(asked)
    errors = [str(result.error) for result in (late, *rest)]
    assert all(result.missing for result in (late, *rest))
    assert any("`timeout_s` 0.5" in error for error in errors)
    assert any("is gone" in error for error in errors)
    psutil.wait_procs([psutil.Process(hung)] if psutil.pid_exists(hung) else [], timeout=30)
    assert not psutil.pid_exists(hung)
    reward.close()
    reward.close()


def test_what_is_wrong_with_a_model_arrives_as_it_was_said(
    busy_cluster: None, tiny_reward_models: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(RewardConfigError) as caught:
        open_scorer(spec_of(tiny_reward_models["two_heads"]), tmp_path)
    assert str(caught.value).startswith("`head` is not given, but the model has the outputs")
    assert "Traceback" not in str(caught.value)


def test_a_path_without_a_model_is_refused_by_its_own_setting(
    busy_cluster: None, tmp_path: Path
) -> None:
    resources = RewardResources(open_scorer=lambda spec: open_scorer(spec, tmp_path / "cache"))
    reward = build_reward(spec_of(tmp_path / "nowhere"), resources=resources)
    (result,) = reward.score(samples("thanks"))
    assert result.missing
    assert str(result.error).startswith(f"reward: `model` is '{tmp_path / 'nowhere'}' but there is")
    assert "model.path" not in str(result.error)
    with pytest.raises(RewardConfigError, match=r"has no config\.json") as caught:
        open_scorer(spec_of(tmp_path), tmp_path / "cache")
    assert caught.value.detail["field"] == "model"


def test_a_gpu_that_is_not_there_is_refused(
    busy_cluster: None, tiny_reward_models: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(RewardConfigError, match="of the cluster's 0 GPUs 0 are free"):
        open_scorer(spec_of(tiny_reward_models["one_head"], device="cuda"), tmp_path)
