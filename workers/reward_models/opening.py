"""Starting a reward model from its specification."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from essa.errors import ClusterError, SpecError
from essa.number_format import ChosenFormats
from essa.spec.model import ModelSpec
from reward.errors import RewardConfigError
from reward.resources import TextScorer
from reward.spec.reward_model import RewardModelSpec
from workers.models.store import ModelStore
from workers.reward_models.actor import RewardModelActor
from workers.reward_models.ray_scorer import RayScorer


def open_scorer(
    spec: RewardModelSpec,
    cache_dir: str | Path,
    notify: Callable[[str], None] = lambda message: None,
    kept_gpus: int = 0,
    formats: ChosenFormats | None = None,
) -> TextScorer:
    """Find a reward model and start it on the running Ray cluster; blocks until it can score.

    Must be called after the engines have taken their GPUs: the reward model gets one of the rest.

    Args:
        cache_dir: folder of prepared models, shared by all jobs.
        notify: called with one sentence for every step of a start and every loss.
        kept_gpus: free GPUs that must stay free, for a trainer that starts later.
        formats: number formats of the job; None takes the fast one where the model runs.
    Raises:
        RewardConfigError: there is no such model, it does not load, or no GPU is free for it.
        ClusterError: this process is in no Ray cluster.
    """
    if not ray.is_initialized():
        raise ClusterError(
            f"the reward model {spec.model!r} needs a Ray cluster, and this process is in none"
        )
    folder = _folder(spec, cache_dir, notify)
    # Once: a GPU held by a process that has just died does not count as free yet.
    device, options = _placed(spec, kept_gpus)

    activations = formats.training if formats is not None and formats.device == device else None

    def spawn() -> Any:
        actor = ray.remote(RewardModelActor).options(**options)
        return actor.remote(folder, spec, device, activations)

    notify(f"loading the reward model {spec.model}")
    return RayScorer(spawn, spec, notify)


def _folder(spec: RewardModelSpec, cache_dir: str | Path, notify: Callable[[str], None]) -> Path:
    model = ModelSpec(path=spec.model, revision=spec.revision)
    try:
        return ModelStore(cache_dir).folder(model, notify, with_code=spec.trust_remote_code)
    except SpecError as error:
        # The rules are those of a job's base model, but the setting has another name.
        message = error.message.replace("model.path", "`model`")
        message = message.replace("model.revision", "`revision`")
        raise RewardConfigError(message, field="model") from error


def _placed(spec: RewardModelSpec, kept_gpus: int) -> tuple[str, dict[str, Any]]:
    """Return the device of a reward model, and the Ray options of its actor."""
    total = ray.cluster_resources().get("GPU", 0)
    free = max(0, ray.available_resources().get("GPU", 0) - kept_gpus)
    on_gpu = spec.device != "cpu" and free >= 1
    if spec.device == "cuda" and not on_gpu:
        raise RewardConfigError(
            f"`device` is cuda, but of the cluster's {total:g} GPUs {free:g} are free for it; "
            "lower engine.workers by one or set `device` to cpu",
            field="device",
        )
    environment = {
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TOKENIZERS_PARALLELISM": "false",
        # Engines own the cores; a thread that waits for its peers must not spin on one.
        "OMP_WAIT_POLICY": "PASSIVE",
    }
    if not on_gpu:
        environment["CUDA_VISIBLE_DEVICES"] = ""
    here = ray.get_runtime_context().get_node_id()
    return "cuda" if on_gpu else "cpu", {
        # Engines take every CPU that Ray counts: an actor that asked for one would wait for ever.
        "num_cpus": 0,
        "num_gpus": 1 if on_gpu else 0,
        "runtime_env": {"env_vars": environment},
        # The folder is on this machine.
        "scheduling_strategy": NodeAffinitySchedulingStrategy(here, soft=True),
    }
