"""The best of N answers of the warm start as a stage of a job: engines and bases are there."""

from __future__ import annotations

from essa.coordinator.best_of_n import BestOfN, BestOfNCoordinator
from essa.coordinator.loop import Outcome
from essa.coordinator.run import Outlets, Run, Space, Start
from essa.parametrize.port import Codec
from essa.records.recorder import RunRecorder
from essa.spec.best_of_n import BestOfNSpec
from workers.cluster.pool import EnginePool
from workers.job.context import JobContext
from workers.warm_start.stage import WarmStartResult


def judge_best_of_n(
    context: JobContext, pool: EnginePool, codec: Codec, warm: WarmStartResult
) -> Outcome:
    """Score the warm start by the best of its sampled answers.

    Raises:
        JobCancelledError: the user cancelled.
        EvaluationError: not one answer could be scored.
    """
    job, spec = context.job, context.job.spec
    assert isinstance(spec.method, BestOfNSpec)
    job.stage("search", f"sampling {spec.method.samples} answers to every prompt")
    with RunRecorder(job.run_dir, spec.evaluation) as recorder:
        run = Run(
            spec,
            context.data,
            Outlets(job.sink, recorder, devices=pool.devices),
            Space(codec.dimension, codec.digest),
            # No checkpoint: there is no state that a resume would need.
            Start(before=warm.as_preparation(job.elapsed_s)),
        )
        return BestOfNCoordinator(run, best_of_n_evaluator(context, pool, codec)).run()


def best_of_n_evaluator(context: JobContext, pool: EnginePool, codec: Codec) -> BestOfN:
    """Scores vectors on these engines, the last by its best answers."""
    spec, evaluator = context.job.spec, context.evaluator(pool, codec)
    assert isinstance(spec.method, BestOfNSpec)
    return BestOfN(evaluator, evaluator, spec.method, spec.seed)
