"""The gradient method as a stage of a job: engines and warm start are there, TRL trains."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from essa.coordinator.gradient_loop import GradientCoordinator
from essa.coordinator.loop import Outcome
from essa.coordinator.run import Outlets, Run, Space, Start
from essa.errors import SpecError
from essa.parametrize.adapter import read_adapter
from essa.parametrize.weights import WeightCodec
from essa.records.recorder import RunRecorder
from essa.spec.engine import EngineSpec
from essa.spec.grpo import GrpoSpec
from workers.baseline.messages import TrainerBuild
from workers.baseline.remote_trainer import RemoteTrainer
from workers.cluster.placement import Node
from workers.cluster.pool import EnginePool
from workers.job.context import JobContext
from workers.warm_start.stage import WarmStartResult


def train_by_gradients(
    context: JobContext,
    pool: EnginePool,
    nodes: Sequence[Node],
    warm: WarmStartResult,
    checkpoint: Path,
) -> tuple[WeightCodec, Outcome]:
    """Train the warm-start adapter; resumes after the last checkpoint.

    Raises:
        SpecError: no GPU is left for the trainer.
        TrainerError: its process failed.
        JobCancelledError: the user cancelled.
    """
    job, spec = context.job, context.job.spec
    assert isinstance(spec.method, GrpoSpec)
    gpus = trainer_gpus(spec.engine, nodes)
    codec = WeightCodec(read_adapter(warm.folder))
    longest = max(len(context.encoder.token_ids(row.prompt)) for row in context.data.train)
    build = TrainerBuild(
        model_folder=context.base.folder,
        adapter_folder=warm.folder,
        checkpoints=job.run_dir / "trainer",
        method=spec.method,
        batch_size=spec.batch_size,
        steps=spec.budget.generations,
        save_every=spec.evaluation.every,
        longest_tokens=longest + spec.rollout.max_tokens,
        max_tokens=spec.rollout.max_tokens,
        seed=spec.seed,
        threads=0 if gpus else pool.devices,
    )
    if not checkpoint.exists():
        shutil.rmtree(build.checkpoints, ignore_errors=True)
    evaluator = context.evaluator(pool, codec)
    trainer = RemoteTrainer(build, codec, context.encoder.token_ids, gpus=gpus, check=job.check)
    job.stage("search", f"training {codec.dimension} weights by {spec.method.type}")
    with closing(trainer), RunRecorder(job.run_dir, spec.evaluation) as recorder:
        run = Run(
            spec,
            context.data,
            Outlets(job.sink, recorder, devices=pool.devices + gpus),
            Space(codec.dimension, codec.digest),
            Start(checkpoint, before=warm.as_preparation(job.elapsed_s)),
        )
        outcome = GradientCoordinator(run, evaluator, evaluator, trainer).run()
    return codec, outcome


def trainer_gpus(engine: EngineSpec, nodes: Sequence[Node]) -> int:
    """GPUs of the trainer: one where there are any, beside engines that keep theirs.

    Raises:
        SpecError: engines hold all of them. Taking turns is no way out: every step needs both, and
            an engine takes longer to start than a step.
    """
    total = sum(node.gpus for node in nodes)
    held = engine.workers * engine.ranks
    if total and total <= held:
        raise SpecError(
            f"method.type grpo trains on a GPU of its own, and the engines hold {held} of the "
            f"{total} that the cluster has; lower engine.workers or engine.tensor_parallel, or run "
            f"it where there are {held + 1} GPUs",
            field="engine.workers",
        )
    return min(total, 1)
