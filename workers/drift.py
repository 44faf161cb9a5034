"""Distance of aligned models from their base, and their loss of quality on another task.

All models answer the same prompts of a task on which none of them was aligned.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from essa.errors import AdapterError, EvaluationError, SpecError
from essa.events import StageEvent
from essa.objective.fitness import bootstrap_interval
from essa.parametrize.adapter import LoraAdapter, read_adapter
from essa.parametrize.weights import WeightCodec
from essa.ports import GroupRollouts, RunSite
from essa.records.folder import WARM_START_FOLDER
from essa.spec import AlignmentJobSpec
from essa.spec.method import EvolutionSpec
from essa.spec.model import AdapterWarmStartSpec
from essa.types import FloatArray
from reward.resources import NOTHING_ALLOWED, RewardPolicy
from workers.cluster.pool import EnginePool
from workers.cluster.ray_cluster import ray_cluster
from workers.engines.base import BASE
from workers.evaluation.work_items import reference_items
from workers.export.source import RunSource
from workers.job.context import JobContext, JobRun, open_context

START, BASE_NAME = "warm_start", "base"


@dataclass(frozen=True)
class Drift:
    """Drift of one model, measured on the other task.

    `kl_nats` is the mean of log p(base) - log p(model) over the tokens of answers sampled from the
    base at temperature 1: the plain estimate of KL(base, model) per token. `entropy_nats` is the
    mean of -log p(model) over the tokens of the model's own samples. `change` is the Frobenius norm
    of alignment's change to B A relative to that of the warm start's B A; None for the base.
    """

    kl_nats: float
    entropy_nats: float
    score: float
    score_ci95: tuple[float, float]
    missing: int
    mean_tokens: float
    unfinished_frac: float
    change: float | None


def measure_drift(
    runs: Mapping[str, Path],
    task: AlignmentJobSpec,
    site: RunSite,
    reward_policy: RewardPolicy = NOTHING_ALLOWED,
) -> dict[str, Drift]:
    """Measure base, warm start and the adapter of every run.

    Args:
        runs: folders of finished runs, by the name to show. All share base and warm start.
        task: job whose test set, prompt template, reward and rollouts are used; model and engines
            are those of the first run.
        site: surroundings of the run; nothing is written to the run's folder.
        reward_policy: the operator's permissions for rewards.
    Returns:
        Drift by name: `base`, `warm_start`, then the runs.
    Raises:
        SpecError: the runs have different bases, or adapters of different shapes.
        EvaluationError: nothing could be scored.
        JobCancelledError: the user cancelled.
    """
    sources = {name: RunSource(folder) for name, folder in runs.items()}
    first = next(iter(sources.values()))
    _check_bases(sources)
    adapters = {START: _warm_start(first)}
    adapters |= {name: read_adapter(source.adapter_folder) for name, source in sources.items()}
    codec = WeightCodec(adapters[START])
    job = JobRun(_spec(task, first), site, time.monotonic())
    context = open_context(job, reward_policy)
    with ray_cluster() as nodes, closing(context.reward):
        context.settle(nodes, None)
        with context.engines(context.plan_search(), nodes, codec.layout) as pool:
            return _Measurement(context, pool, codec, adapters).run()


class _Measurement:
    def __init__(
        self,
        context: JobContext,
        pool: EnginePool,
        codec: WeightCodec,
        adapters: Mapping[str, LoraAdapter],
    ) -> None:
        self._context = context
        self._pool = pool
        self._codec = codec
        self._adapters = adapters
        self._evaluator = context.evaluator(pool, codec)
        self._rows = context.data.test
        self._seed = context.job.spec.seed

    def run(self) -> dict[str, Drift]:
        from_base = self._evaluator.sample(
            None,
            self._rows,
            samples=1,
            temperature=1.0,
            seed=self._seed,
            label="sampling from the base",
        )
        found = {BASE_NAME: self._measure(BASE_NAME, None, from_base)}
        for name, adapter in self._adapters.items():
            found[name] = self._measure(name, adapter, from_base)
        return found

    def _measure(self, name: str, adapter: LoraAdapter | None, from_base: GroupRollouts) -> Drift:
        self._context.job.sink.emit(StageEvent(stage="drift", message=name))
        if adapter is None:
            nothing = np.zeros((0, self._codec.dimension))
            scores = self._evaluator.evaluate(nothing, self._rows, with_base=True, label=name)
            candidate, own, kl, change = BASE, from_base, 0.0, None
        else:
            vector = self._vector(name, adapter)
            scores = self._evaluator.evaluate(vector[None], self._rows, label=name)
            own = self._evaluator.sample(
                vector, self._rows, samples=1, temperature=1.0, seed=self._seed
            )
            candidate = 0
            kl = self._mean_logprob(from_base, BASE) - self._mean_logprob(from_base, candidate)
            change = _change(self._adapters[START], adapter)
        answers = [completions[0] for completions in own.completions if completions]
        mean, low, high = bootstrap_interval(scores.rewards_N_P[0])
        return Drift(
            kl_nats=kl,
            entropy_nats=-self._mean_logprob(own, candidate),
            score=mean,
            score_ci95=(low, high),
            missing=int(np.isnan(scores.rewards_N_P[0]).sum()),
            mean_tokens=scores.generated_tokens / max(scores.samples, 1),
            unfinished_frac=float(np.mean([one.finish_reason != "stop" for one in answers])),
            change=change,
        )

    def _mean_logprob(self, rollouts: GroupRollouts, candidate: int) -> float:
        """Return the mean log-probability, in nats, of the answers' tokens under a candidate."""
        answers = [
            (prompt, completions[0].token_ids)
            for prompt, completions in enumerate(rollouts.completions)
            if completions and completions[0].token_ids
        ]
        encode = self._context.encoder.token_ids
        _, items = reference_items(
            answers,
            [tuple(encode(row.prompt)) for row in self._rows],
            engines=self._pool.size,
            capacity=self._pool.capacity,
            candidate=candidate,
        )
        known: list[float] = []
        for result in self._pool.run(items, self._context.job.check):
            if result.completions is None:
                raise EvaluationError(f"answers could not be scored: {result.error}")
            for (scored,) in result.completions:
                known += scored.token_logprobs or ()
        return float(np.mean(known))

    def _vector(self, name: str, adapter: LoraAdapter) -> FloatArray:
        try:
            return self._codec.vector(
                {one.name: (one.lora_A, one.lora_B) for one in adapter.modules}
            )
        except AdapterError as error:
            raise SpecError(f"run {name} has another warm start: {error.message}") from error


def _spec(task: AlignmentJobSpec, first: RunSource) -> AlignmentJobSpec:
    run = first.provenance.job
    return task.model_copy(
        update={
            "model": run.model,
            "engine": run.engine.model_copy(update={"gate": False}),
            # Nothing trains here, so no device is reserved for a trainer.
            "method": EvolutionSpec(),
            "seed": run.seed,
        }
    )


def _check_bases(sources: Mapping[str, RunSource]) -> None:
    digests = {name: source.provenance.base.digest for name, source in sources.items()}
    if len(set(digests.values())) > 1:
        told = ", ".join(f"{name} {digest[:12]}" for name, digest in digests.items())
        raise SpecError(f"the runs have different base models: {told}; compare runs of one base")


def _warm_start(source: RunSource) -> LoraAdapter:
    given = source.provenance.job.warm_start
    if isinstance(given, AdapterWarmStartSpec):
        return read_adapter(Path(given.path).expanduser())
    return read_adapter(source.run_dir / WARM_START_FOLDER)


def _change(start: LoraAdapter, adapter: LoraAdapter) -> float:
    """Return the Frobenius norm of B A's change over that of the start, over all modules."""
    moved = norm = 0.0
    for before, after in zip(start.modules, adapter.modules, strict=True):
        was = before.scaling * (before.lora_B @ before.lora_A)
        now = after.scaling * (after.lora_B @ after.lora_A)
        moved += float(np.square(now - was, dtype=np.float64).sum())
        norm += float(np.square(was, dtype=np.float64).sum())
    return float(np.sqrt(moved / norm))


def as_plain(found: Mapping[str, Drift]) -> dict[str, Any]:
    """Convert to plain data for JSON."""
    return {name: asdict(one) for name, one in found.items()}
