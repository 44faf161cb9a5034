"""Policy gradients on the warm-start adapter: engines roll out, TRL trains."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Sequence
from contextlib import closing

from essa.coordinator.gradient_loop import GradientCoordinator
from essa.errors import SpecError
from essa.parametrize.adapter import read_adapter
from essa.parametrize.basis import AdapterBasis
from essa.parametrize.weights import WeightCodec
from essa.spec.engine import EngineSpec
from essa.spec.grpo import GrpoSpec
from workers.cluster.placement import Node
from workers.cluster.pool import EnginePool
from workers.job.context import JobContext
from workers.methods.base import CHECKPOINT_FILE, Found, Method
from workers.methods.trl.messages import TrainerBuild
from workers.methods.trl.remote_trainer import RemoteTrainer
from workers.warm_start.stage import WarmStartResult


class Grpo(Method[GrpoSpec]):
    """Trains all weights of the adapter, or its singular values; resumes after the last checkpoint.

    Raises:
        SpecError: no GPU is left for the trainer.
        TrainerError: the trainer's process failed during the run.
    """

    def __init__(self, spec: GrpoSpec, context: JobContext, nodes: list[Node]) -> None:
        super().__init__(spec, context, nodes)
        self.gpus_beside = trainer_gpus(context.job.spec.engine, nodes)

    @staticmethod
    def require() -> None:
        if importlib.util.find_spec("trl") is None:
            raise SpecError(
                "method.type is grpo, which needs trl; install the extra `baseline`",
                field="method.type",
            )

    def run(self, pool: EnginePool, basis: AdapterBasis, warm: WarmStartResult) -> Found:
        job, encode = self.context.job, self.context.encoder.token_ids
        weights = WeightCodec(read_adapter(warm.folder))
        job.stage("search", f"training {weights.dimension} weights by {self.spec.type}")
        build = self._build(pool, warm)
        if not (job.run_dir / CHECKPOINT_FILE).exists():
            shutil.rmtree(build.checkpoints, ignore_errors=True)
        trainer = RemoteTrainer(build, weights, encode, gpus=self.gpus_beside, check=job.check)
        evaluator = self.context.evaluator(pool, weights)
        with closing(trainer), self.opened_run(pool, weights, warm) as run:
            outcome = GradientCoordinator(run, self.spec, evaluator, evaluator, trainer).run()
        return Found(weights, outcome)

    def _build(self, pool: EnginePool, warm: WarmStartResult) -> TrainerBuild:
        context, spec = self.context, self.context.job.spec
        longest = max(len(context.encoder.token_ids(row.prompt)) for row in context.data.train)
        return TrainerBuild(
            model_folder=context.base.folder,
            adapter_folder=warm.folder,
            checkpoints=context.job.run_dir / "trainer",
            method=self.spec,
            batch_size=spec.batch_size,
            steps=spec.budget.generations,
            save_every=spec.evaluation.every,
            longest_tokens=longest + spec.rollout.max_tokens,
            max_tokens=spec.rollout.max_tokens,
            seed=spec.seed,
            threads=0 if self.gpus_beside else pool.devices,
        )


def trainer_gpus(engine: EngineSpec, nodes: Sequence[Node]) -> int:
    """Return the number of the trainer's GPUs: 1, or 0 on a cluster without GPUs.

    Raises:
        SpecError: engines hold all GPUs. Trainer and engines cannot take turns: every step needs
            both, and starting an engine takes longer than a step.
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
