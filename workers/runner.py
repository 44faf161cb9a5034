"""One alignment job from specification to exported adapter."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from essa.coordinator.loop import Coordinator
from essa.data import JobData, load_job_data
from essa.errors import JobCancelledError, SpecError
from essa.events import ResultEvent, StageEvent, WarningEvent
from essa.parametrize.adapter import read_adapter, write_adapter
from essa.parametrize.basis import AdapterBasis
from essa.parametrize.codec import SingularValueCodec
from essa.ports import EventSink, RunControl
from essa.spec import AlignmentJobSpec, DatasetSpec, VllmEngineSpec
from reward.base import Reward
from reward.errors import RewardError
from reward.registry import build_reward
from workers.cluster import ray_cluster
from workers.engines.build import EngineBuild
from workers.evaluator import PoolEvaluator
from workers.models.store import ModelStore, PreparedModel
from workers.placement import Node, plan_placement
from workers.pool import EnginePool
from workers.prompting import PromptEncoder
from workers.warm_start.stage import make_warm_start, warm_start_lora

BASIS_FILE = "basis.safetensors"
CHECKPOINT_FILE = "search.ckpt"
PROGRESS_EVERY_S = 2.0


def run_alignment_job(
    spec: AlignmentJobSpec,
    *,
    run_dir: Path,
    cache_dir: Path,
    sink: EventSink,
    control: RunControl,
    resolve_file: Callable[[str], Path],
) -> ResultEvent:
    """Run a job to its end; resume where `run_dir` holds what an earlier run finished.

    Args:
        run_dir: this job's own folder: bases, warm start, checkpoint, adapter, result.
        cache_dir: prepared models, shared by all jobs.
        resolve_file: uploaded file id -> path.
    Raises:
        JobCancelledError: the user cancelled.
        EssaError: what went wrong, with the setting that changes it.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    job = _Job(spec, run_dir, sink, control, time.monotonic())
    job.stage("prepare_model", "looking for the base model")
    store = ModelStore(cache_dir)
    base = store.base(spec.model, lambda text: job.stage("prepare_model", text))
    encoder = PromptEncoder(base.folder, spec.data.prompt)
    data = load_job_data(
        spec.data,
        seed=spec.seed,
        resolve=lambda dataset: _dataset_path(dataset, resolve_file),
        render=encoder.text,
    )
    reward = _checked_reward(spec, data)
    for note in data.notes:
        sink.emit(WarningEvent(code="data", message=note))
    model_path = _engine_model(store, base, spec, job)
    with ray_cluster() as nodes:
        pool = _start_engines(job, str(model_path), nodes)
        try:
            result = _align(job, pool, base, encoder, data, reward)
        finally:
            pool.close()
    (run_dir / "result.json").write_text(result.model_dump_json(indent=2) + "\n")
    sink.emit(result)
    return result


@dataclass
class _Job:
    """What every step of a run needs."""

    spec: AlignmentJobSpec
    run_dir: Path
    sink: EventSink
    control: RunControl
    started_s: float
    shown_s: float = 0.0

    def stage(
        self, stage: str, message: str = "", done: int | None = None, total: int | None = None
    ) -> None:
        self.check()
        self.sink.emit(StageEvent(stage=stage, message=message, done=done, total=total))

    def check(self) -> None:
        if self.control.is_cancelled():
            raise JobCancelledError("the job was cancelled")

    def progress(self, label: str, done: int, total: int) -> None:
        """Show a running evaluation, now and then."""
        now_s = time.monotonic()
        if label and done < total and now_s - self.shown_s >= PROGRESS_EVERY_S:
            self.shown_s = now_s
            self.sink.emit(StageEvent(stage="rollouts", message=label, done=done, total=total))


def _align(
    job: _Job,
    pool: EnginePool,
    base: PreparedModel,
    encoder: PromptEncoder,
    data: JobData,
    reward: Reward,
) -> ResultEvent:
    spec = job.spec

    def evaluator(codec: SingularValueCodec | None) -> PoolEvaluator:
        return PoolEvaluator(
            pool, encoder, reward, spec.rollout,
            codec=codec, seed=spec.seed, check=job.check, progress=job.progress,
        )  # fmt: skip

    basis, tokens = _bases(job, base, encoder, data, evaluator(None))
    codec = SingularValueCodec(basis)
    pool.load_basis(codec.engine_basis())
    job.stage("search", f"searching {codec.dimension} singular values")
    outcome = Coordinator(
        spec,
        data,
        evaluator(codec),
        job.sink,
        dimension=codec.dimension,
        basis_digest=basis.digest,
        checkpoint=job.run_dir / CHECKPOINT_FILE,
        spent_s=time.monotonic() - job.started_s,
        spent_tokens=tokens,
    ).run()
    job.stage("export", "writing the adapter")
    folder = job.run_dir / "adapter"
    write_adapter(codec.export(outcome.vector), folder, base_model_name=str(base.folder))
    return outcome.result.model_copy(
        update={"adapter": str(folder), "seconds": time.monotonic() - job.started_s}
    )


def _bases(
    job: _Job,
    base: PreparedModel,
    encoder: PromptEncoder,
    data: JobData,
    evaluator: PoolEvaluator,
) -> tuple[AdapterBasis, int]:
    """The bases of this run; stored ones first, for singular vectors are not unique."""
    path = job.run_dir / BASIS_FILE
    if path.exists():
        return AdapterBasis.load(path), 0
    spec = job.spec
    job.stage("warm_start", spec.warm_start.type)
    warm = make_warm_start(
        spec.warm_start,
        model_folder=base.folder,
        train=data.train,
        evaluator=evaluator,
        encoder=encoder,
        out_dir=job.run_dir / "warm_start",
        seed=spec.seed,
        say=lambda text: job.stage("warm_start", text),
        should_stop=job.control.is_cancelled,
    )
    basis = AdapterBasis.decompose(read_adapter(warm.folder), spec.search.target, spec.search.alpha)
    basis.save(path)
    return basis, warm.tokens


def _start_engines(job: _Job, model_path: str, nodes: list[Node]) -> EnginePool:
    spec = job.spec
    placements = plan_placement(spec.engine, nodes)
    rank, modules = _adapter_shape(spec)
    ladder = spec.search.ladder.candidates + 1 if spec.search.sigma_init == "auto" else 0
    build = EngineBuild(
        spec=spec.engine,
        model_path=model_path,
        max_population=max(spec.search.population, ladder, 2),
        rank=rank,
        target_modules=modules,
        has_core=spec.search.target == "factors",
        seed=spec.seed,
    )
    job.stage("start_engines", f"starting {len(placements)} {spec.engine.kind} engines")
    pool = EnginePool(
        build,
        placements,
        notify=lambda text: job.sink.emit(WarningEvent(code="engine_lost", message=text)),
    )
    try:
        pool.start()
    except BaseException:
        pool.close()
        raise
    return pool


def _adapter_shape(spec: AlignmentJobSpec) -> tuple[int, tuple[str, ...]]:
    lora = warm_start_lora(spec.warm_start)
    if lora is not None:
        return lora.rank, lora.target_modules
    adapter = read_adapter(Path(spec.warm_start.path).expanduser())
    rank = max(module.rank for module in adapter.modules)
    return rank, tuple(sorted({module.name.rsplit(".", 1)[-1] for module in adapter.modules}))


def _engine_model(
    store: ModelStore, base: PreparedModel, spec: AlignmentJobSpec, job: _Job
) -> Path:
    if isinstance(spec.engine, VllmEngineSpec):
        return store.quantized(
            base, spec.engine.precision, lambda text: job.stage("prepare_model", text)
        )
    # bitsandbytes quantises as it loads.
    return base.folder


def _dataset_path(dataset: DatasetSpec, resolve_file: Callable[[str], Path]) -> Path:
    if dataset.file_id is not None:
        return resolve_file(dataset.file_id)
    return Path(dataset.path or "").expanduser()


def _checked_reward(spec: AlignmentJobSpec, data: JobData) -> Reward:
    """Build the reward and try its columns on every row, before anything expensive starts."""
    reward = build_reward(spec.reward)
    for name in ("train", "validation", "test"):
        for row in getattr(data, name):
            try:
                reward.check_row(row.columns)
            except RewardError as error:
                raise SpecError(f"data.{name} line {row.index + 1}: {error}") from error
    return reward
