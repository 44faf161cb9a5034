"""State that the steps of one job share: specification, outlets, and prepared inputs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from essa.data import JobData, dataset_path, load_job_data
from essa.errors import JobCancelledError
from essa.events import FormatEvent, StageEvent, WarningEvent
from essa.number_format import Activations, ChosenFormats
from essa.parametrize.port import Codec, Layout
from essa.ports import EventSink, RunSite, Say
from essa.spec import AlignmentJobSpec, DatasetSpec, EngineSpec
from reward.base import Reward
from reward.registry import build_reward
from reward.resources import RewardPolicy, RewardResources
from workers.cluster.placement import Node
from workers.cluster.pool import EnginePool
from workers.cluster.ray_cluster import is_elsewhere
from workers.evaluation.evaluator import PoolEvaluator
from workers.job.engine_plan import EnginePlan, plan_engines, start_pool
from workers.job.formats import settle_formats
from workers.models.store import ModelStore, PreparedModel
from workers.prompting import PromptEncoder
from workers.quantization.calibration import read_texts
from workers.reward_models.opening import open_scorer

PROGRESS_EVERY_S = 2.0


@dataclass
class JobRun:
    """State of a run that every step needs."""

    spec: AlignmentJobSpec
    site: RunSite
    started_s: float
    shown_s: float = 0.0
    """Time at which counted progress was last shown."""
    counted: tuple[str, int | None] = ("", None)
    """Stage and total of the progress that was last shown."""
    formats: ChosenFormats | None = None
    """Number formats of the run; None until the run's machines are known."""

    @property
    def run_dir(self) -> Path:
        """Folder of the run."""
        return self.site.run_dir

    @property
    def cache_dir(self) -> Path:
        """Folder of prepared models."""
        return self.site.cache_dir

    @property
    def sink(self) -> EventSink:
        """Receiver of the run's events."""
        return self.site.sink

    @property
    def elapsed_s(self) -> float:
        """Seconds since this process started the run."""
        return time.monotonic() - self.started_s

    @property
    def settled(self) -> ChosenFormats:
        """Number formats of the run; available after `JobContext.settle`."""
        assert self.formats is not None, "the formats are settled first"
        return self.formats

    def take(self, formats: ChosenFormats) -> None:
        """Replace every `auto` in the specification by the chosen format."""
        self.formats = formats
        engine = self.spec.engine.model_copy(update={"precision": formats.precision})
        method = self.spec.method.settled(formats.training)
        self.spec = self.spec.model_copy(update={"engine": engine, "method": method})

    def stage(self, stage: str, message: str = "") -> None:
        self.check()
        self.sink.emit(StageEvent(stage=stage, message=message))

    def say(self, stage: str) -> Say:
        """Return a function that shows a stage; counts appear only occasionally and at the end."""

        def say(
            text: str,
            done: int | None = None,
            total: int | None = None,
            eta_s: float | None = None,
        ) -> None:
            self.check()
            now_s = time.monotonic()
            is_shown = (stage, total) == self.counted and done != total
            if done is not None and is_shown and now_s - self.shown_s < PROGRESS_EVERY_S:
                return
            self.shown_s, self.counted = now_s, (stage, total)
            self.sink.emit(
                StageEvent(stage=stage, message=text, done=done, total=total, eta_s=eta_s)
            )

        return say

    def check(self) -> None:
        if self.site.control.is_cancelled():
            raise JobCancelledError("the job was cancelled")

    def progress(self, label: str, done: int, total: int, tokens: int) -> None:
        """Show the progress of an evaluation, at intervals."""
        now_s = time.monotonic()
        if label and done < total and now_s - self.shown_s >= PROGRESS_EVERY_S:
            self.shown_s = now_s
            message = f"{label}, {tokens:,} tokens" if tokens else label
            self.sink.emit(StageEvent(stage="rollouts", message=message, done=done, total=total))


@dataclass(frozen=True)
class JobContext:
    """The job with everything that is prepared before the engines start."""

    job: JobRun
    store: ModelStore
    base: PreparedModel
    encoder: PromptEncoder
    data: JobData
    reward: Reward
    resolve: Callable[[DatasetSpec], Path]
    """Function from a data set to the path of its file."""

    def settle(self, nodes: Sequence[Node], run_dir: Path | None) -> FormatEvent:
        """Choose the job's number formats, or take those that its run recorded; return the event.

        Args:
            nodes: nodes of the cluster.
            run_dir: the run's folder; None chooses and records nothing.
        Raises:
            SpecError: see `settle_formats`.
        """
        job = self.job
        formats, told = settle_formats(
            job.spec,
            run_dir=run_dir,
            cache_dir=job.cache_dir,
            model_folder=self.base.folder,
            nodes=nodes,
            is_elsewhere=is_elsewhere(),
        )
        job.take(formats)
        return told

    def plan_search(self) -> EnginePlan:
        """Plan the engines of the search, after the formats are settled."""
        return self.plan(self.job.spec.engine, self.job.settled.activations)

    def plan(self, engine: EngineSpec, activations: Activations) -> EnginePlan:
        """Plan engines: find or make the checkpoint that they load."""
        return plan_engines(
            self.store,
            self.base,
            engine,
            activations,
            texts=self._calibration_texts,
            say=self.job.say("prepare_model"),
        )

    @contextmanager
    def engines(self, plan: EnginePlan, nodes: list[Node], layout: Layout) -> Iterator[EnginePool]:
        """Run engines sized for a codec's layout for the duration of a `with` block."""
        job = self.job
        pool = start_pool(
            job.spec,
            plan,
            nodes,
            layout,
            say=job.say("start_engines"),
            warn=lambda text: job.sink.emit(WarningEvent(code="engine_lost", message=text)),
        )
        try:
            yield pool
        finally:
            pool.close()

    def evaluator(self, pool: EnginePool, codec: Codec | None) -> PoolEvaluator:
        """Return an evaluator on these engines; without a codec it can only score the base."""
        job = self.job
        return PoolEvaluator(
            pool, self.encoder, self.reward, job.spec.rollout,
            codec=codec, seed=job.spec.seed, check=job.check, progress=job.progress,
        )  # fmt: skip

    def _calibration_texts(self) -> list[str]:
        quantization = self.job.spec.engine.quantization
        chosen = quantization.calibration if quantization else None
        if chosen is None:
            return [row.prompt for row in self.data.train]
        return read_texts(self.resolve(chosen), self.base.folder, chosen.limit)


def open_context(job: JobRun, reward_policy: RewardPolicy) -> JobContext:
    """Find the base model, read the data sets and build the reward.

    Args:
        reward_policy: the operator's permissions for rewards.
    Raises:
        EssaError: the base model, a data set or the reward is unavailable.
    """
    spec, cache_dir = job.spec, job.cache_dir
    store = ModelStore(cache_dir)
    base = store.base(spec.model, lambda text: job.stage("prepare_model", text))
    encoder = PromptEncoder(base.folder, spec.data.prompt)

    def resolve(dataset: DatasetSpec) -> Path:
        return dataset_path(dataset, job.site.resolve_file)

    data = load_job_data(spec.data, seed=spec.seed, resolve=resolve, render=encoder.prompt)
    resources = RewardResources(
        reward_policy,
        open_scorer=lambda model: open_scorer(
            model,
            cache_dir,
            lambda text: job.stage("reward_model", text),
            kept_gpus=int(spec.method.trains),
            formats=job.formats,
        ),
    )
    reward = build_reward(spec.reward, resources=resources)
    return JobContext(job, store, base, encoder, data, reward, resolve)
