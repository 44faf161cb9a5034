"""Training a warm start on a GPU that Ray hands out."""

from __future__ import annotations

import shutil
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import OutOfMemoryError, RayActorError, RayError

from essa.errors import EssaError, JobCancelledError, TrainerError
from essa.number_format import Activations
from essa.ports import Say
from essa.spec.model import LoraSpec, SftSpec
from workers.cluster.pool import START_TIMEOUT_S
from workers.warm_start.actor import LoraTrainerActor, Trained
from workers.warm_start.here import memory_fix
from workers.warm_start.pairs import SftPair

POLL_S = 0.5


def train_on_gpu(
    model_folder: str | Path,
    pairs: Sequence[SftPair],
    lora: LoraSpec,
    sft: SftSpec,
    seed: int,
    out_dir: Path,
    progress: Say,
    training: Activations,
    should_stop: Callable[[], bool] = lambda: False,
) -> None:
    """Run `train_named` in an actor that Ray gives a GPU, and that ends with the training.

    Raises:
        TrainerError: the process died, memory ran out, or no GPU came free.
        JobCancelledError: `should_stop` returned True.
    """
    actor: Any = ray.remote(LoraTrainerActor).options(
        num_cpus=0,
        num_gpus=1,
        max_concurrency=2,
        runtime_env={"env_vars": {"TOKENIZERS_PARALLELISM": "false"}},
    ).remote()  # fmt: skip
    try:
        answer = actor.train.remote(str(model_folder), pairs, lora, sft, seed, training)
        news = _watch(actor, answer, progress, should_stop)
        trained: Trained = ray.get(answer)
        for told in (*ray.get(news), *trained.told):
            progress(*told)
    except (RayActorError, OutOfMemoryError) as error:
        raise TrainerError(
            f"the warm start's process died; where memory ran out, {memory_fix(sft)}",
            field="warm_start.sft.batch_size",
        ) from error
    except RayError as error:
        cause = getattr(error, "cause", None) or error
        if isinstance(cause, EssaError):
            raise cause from error
        raise TrainerError(f"the warm start failed: {type(cause).__name__}: {cause}") from error
    finally:
        ray.kill(actor)
    _write(trained.files, out_dir)


def _watch(actor: Any, answer: Any, progress: Say, should_stop: Callable[[], bool]) -> Any:
    """Report the actor's progress until training ends; return the last call of `news`."""
    give_up_s = time.monotonic() + START_TIMEOUT_S
    has_started = False
    news = actor.news.remote()
    while True:
        done, _ = ray.wait([answer, news], num_returns=1, timeout=POLL_S)
        if answer in done:
            return news
        if should_stop():
            raise JobCancelledError("cancelled during the warm start")
        if news in done:
            has_started = True
            for told in ray.get(news):
                progress(*told)
            news = actor.news.remote()
        elif not has_started and time.monotonic() > give_up_s:
            raise TrainerError(
                f"no GPU came free for the warm start within {START_TIMEOUT_S:g} s; lower "
                "engine.workers, or ESSA_ENGINE_SLOTS to what the cluster has"
            )


def _write(files: dict[str, bytes], out_dir: Path) -> None:
    temporary = out_dir.parent / f".{out_dir.name}-{uuid.uuid4().hex[:8]}"
    temporary.mkdir(parents=True)
    try:
        for name, content in files.items():
            (temporary / name).write_bytes(content)
        shutil.rmtree(out_dir, ignore_errors=True)
        temporary.rename(out_dir)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
