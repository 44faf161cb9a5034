"""Run one alignment job, from specification to exported adapter."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path
from typing import Any

from essa.data import JobData
from essa.errors import SpecError
from essa.events import ResultEvent, WarmStartEvent, WarningEvent
from essa.parametrize.adapter import read_adapter, write_adapter
from essa.parametrize.basis import BASIS_FILE, AdapterBasis
from essa.parametrize.codec import SingularValueCodec
from essa.parametrize.port import Codec
from essa.ports import RunSite
from essa.records.folder import ADAPTER_FOLDER, RESULT_FILE, WARM_START_FOLDER
from essa.spec import AlignmentJobSpec
from reward.base import Reward
from reward.errors import RewardError
from reward.resources import NOTHING_ALLOWED, RewardPolicy
from workers.cluster.memory_watch import MemoryWatch
from workers.cluster.placement import Node
from workers.cluster.pool import EnginePool
from workers.cluster.ray_cluster import ray_cluster
from workers.export.provenance import write_provenance
from workers.gate.check import PROMPTS
from workers.gate.stage import pass_gate
from workers.job.context import JobContext, JobRun, open_context
from workers.job.engine_plan import EnginePlan
from workers.job.engine_turns import EngineTurns
from workers.job.search_codec import search_layout
from workers.machine.row_threads import keep_to_quota
from workers.methods.base import Found, Method
from workers.methods.registry import METHODS, make_method
from workers.serving import serving_engine, with_serving_scores
from workers.warm_start.stage import WarmStartResult, finished_warm_start, make_warm_start


def run_alignment_job(
    spec: AlignmentJobSpec, site: RunSite, reward_policy: RewardPolicy = NOTHING_ALLOWED
) -> ResultEvent:
    """Run a job to its end, resuming from the parts that an earlier start left in its folder.

    Args:
        spec: specification of the job.
        site: surroundings of the run.
        reward_policy: the operator's permissions for rewards.
    Raises:
        JobCancelledError: the user cancelled.
        EssaError: the job failed; the message names the cause and the setting that changes it.
    """
    keep_to_quota()
    METHODS[spec.method.type].require()
    site.run_dir.mkdir(parents=True, exist_ok=True)
    job = JobRun(spec, site, time.monotonic())
    job.stage("prepare_model", "looking for the base model")
    context = open_context(job, reward_policy)
    reward = context.reward
    _check_rows(reward, context.data)
    for note in context.data.notes:
        site.sink.emit(WarningEvent(code="data", message=note))
    job.stage("start_engines", "starting Ray")
    with MemoryWatch() as memory, ray_cluster() as nodes, closing(reward):
        job.stage("prepare_model", "looking which number formats are fast")
        site.sink.emit(context.settle(nodes, site.run_dir))
        method = make_method(context, nodes)
        plan = context.plan_search()
        # Prepared before the search, so that a base that is unavailable fails before it.
        served = serving_engine(job.spec)
        serving = plan
        if served != job.spec.engine:
            serving = context.plan(served, job.settled.serving_activations)
        write_provenance(context, plan, serving)
        found = _search(context, method, plan, nodes)
        adapter = _export(context, found, serving)
        result = with_serving_scores(method, found, serving, nodes)
        costs = reward.costs()
    result = result.model_copy(
        update={
            "adapter": str(adapter),
            "seconds": job.elapsed_s,
            "reward_costs": costs,
            "host_peak_bytes": memory.peak_bytes if len(nodes) == 1 else None,
        }
    )
    (site.run_dir / RESULT_FILE).write_text(result.model_dump_json(indent=2) + "\n")
    site.sink.emit(result)
    return result


def _search(context: JobContext, method: Method[Any], plan: EnginePlan, nodes: list[Node]) -> Found:
    spec = context.job.spec
    with closing(EngineTurns(context, plan, nodes, search_layout(spec))) as turns:
        basis, warm = _bases(context, turns)
        pool = turns.pool()
        if spec.engine.gate:
            _check_engines(context, pool, SingularValueCodec(basis), plan)
        return method.run(pool, basis, warm)


def _check_engines(context: JobContext, pool: EnginePool, codec: Codec, plan: EnginePlan) -> None:
    job = context.job
    rows = context.data.train[:PROMPTS]
    pass_gate(
        pool,
        codec,
        job.spec.engine,
        [tuple(context.encoder.token_ids(row.prompt)) for row in rows],
        model_folder=plan.model_folder,
        model_digest=plan.model_digest,
        activations=plan.activations,
        cache_dir=job.cache_dir,
        seed=job.spec.seed,
        sink=job.sink,
        say=job.say("gate"),
    )


def _export(context: JobContext, found: Found, serving: EnginePlan) -> Path:
    """Write the adapter for the serving base."""
    job = context.job
    job.stage("export", "writing the adapter")
    folder = job.run_dir / ADAPTER_FOLDER
    adapter = found.codec.export(found.outcome.vector)
    write_adapter(adapter, folder, base_model_name=str(serving.model_folder))
    return folder


def _bases(context: JobContext, turns: EngineTurns) -> tuple[AdapterBasis, WarmStartResult]:
    """Return the run's bases: the stored ones if any, because singular vectors are not unique."""
    job, spec = context.job, context.job.spec
    path = job.run_dir / BASIS_FILE
    if path.exists():
        return AdapterBasis.load(path), finished_warm_start(spec.warm_start, _warm_start_dir(job))
    job.stage("warm_start", spec.warm_start.type)
    warm = make_warm_start(
        spec.warm_start,
        model_folder=context.base.folder,
        train=context.data.train,
        evaluator=lambda: context.evaluator(turns.pool(), None),
        make_room=turns.make_room,
        encoder=context.encoder,
        out_dir=_warm_start_dir(job),
        seed=spec.seed,
        training=job.settled.training,
        say=job.say("warm_start"),
        should_stop=job.site.control.is_cancelled,
    )
    job.sink.emit(
        WarmStartEvent(
            kind=spec.warm_start.type,
            seconds=warm.seconds,
            tokens=warm.tokens,
            samples=warm.samples,
        )
    )
    # If whole factors move, engines hold bases of the kind `product`.
    target, alpha = (
        ("product", 1.0) if spec.moves_weights else (spec.search.target, spec.search.alpha)
    )
    basis = AdapterBasis.decompose(read_adapter(warm.folder), target, alpha)
    basis.save(path)
    return basis, warm


def _warm_start_dir(job: JobRun) -> Path:
    return job.run_dir / WARM_START_FOLDER


def _check_rows(reward: Reward, data: JobData) -> None:
    """Check the reward's columns on every row before anything expensive starts."""
    for name in ("train", "validation", "test"):
        for row in getattr(data, name):
            try:
                reward.check_row(row.columns)
            except RewardError as error:
                raise SpecError(f"data.{name} line {row.index + 1}: {error}") from error
