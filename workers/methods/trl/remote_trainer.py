"""Proxy of the trainer's process for the training loop."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import ray
from ray.exceptions import OutOfMemoryError, RayActorError, RayError

from essa.errors import EssaError, TrainerError
from essa.parametrize.weights import WeightCodec
from essa.ports import GradientTrainer, GroupRollouts, TrainerNews
from workers.cluster.pool import START_TIMEOUT_S
from workers.methods.trl.actor import TrainerActor
from workers.methods.trl.messages import Experience, Report, TrainerBuild

POLL_S = 0.5


class RemoteTrainer(GradientTrainer):
    """TRL in a Ray actor, which has its own GPU on a GPU cluster.

    Args:
        build: inputs from which the trainer is built.
        codec: codec of the warm start that is trained.
        encode: converts a prompt's text to token ids.
        gpus: number of GPUs requested from Ray.
        check: called a few times per second; an error that it raises, such as a cancellation, ends
            the call.
    """

    def __init__(
        self,
        build: TrainerBuild,
        codec: WeightCodec,
        encode: Callable[[str], list[int]],
        *,
        gpus: int,
        check: Callable[[], None],
    ) -> None:
        self._build = build
        self._codec = codec
        self._encode = encode
        self._check = check
        # On a CPU, the trainer uses the engines' cores while the engines wait.
        self._actor: Any = ray.remote(TrainerActor).options(num_cpus=0, num_gpus=gpus).remote()
        self.peak_bytes = 0

    def start(self, generation: int) -> TrainerNews:
        return self._news(self._actor.start.remote(self._build, generation), START_TIMEOUT_S)

    def step(self, rollouts: GroupRollouts) -> TrainerNews:
        experience = Experience([], [], [])
        for row, answers, scores in zip(
            rollouts.rows, rollouts.completions, rollouts.rewards_P_G, strict=True
        ):
            prompt = self._encode(row.prompt)
            for place, score in enumerate(scores):
                # A prompt whose rollout failed has no answers.
                answer = answers[place].token_ids if place < len(answers) else ()
                experience.prompt_ids.append(prompt)
                experience.completion_ids.append(list(answer))
                experience.scores.append(float(score) if np.isfinite(score) else None)
        return self._news(self._actor.step.remote(experience))

    def close(self) -> None:
        """End the trainer's process."""
        ray.kill(self._actor)

    def _news(self, call: Any, longest_s: float = float("inf")) -> TrainerNews:
        give_up_s = time.monotonic() + longest_s
        while not ray.wait([call], timeout=POLL_S)[0]:
            self._check()
            if time.monotonic() > give_up_s:
                raise TrainerError(
                    f"the trainer did not start within {longest_s:g} s. On a cluster that others "
                    "use too, it may have found no free GPU: lower engine.workers, or "
                    "ESSA_ENGINE_SLOTS to what the cluster has"
                )
        try:
            report: Report = ray.get(call)
        except (RayActorError, OutOfMemoryError) as error:
            raise TrainerError(
                "the trainer's process died; where memory ran out, lower method.micro_batch, now "
                f"{self._build.method.micro_batch}, or set method.gradient_checkpointing",
                field="method.micro_batch",
            ) from error
        except RayError as error:
            cause = getattr(error, "cause", None) or error
            if isinstance(cause, EssaError):
                raise cause from error
            raise TrainerError(f"the trainer failed: {type(cause).__name__}: {cause}") from error
        self.peak_bytes = max(self.peak_bytes, report.peak_bytes)
        return TrainerNews(
            report.step,
            self._codec.vector(report.weights),
            report.metrics,
            report.train_s,
            report.is_saved,
        )
