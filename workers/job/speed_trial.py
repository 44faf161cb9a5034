"""Time a tiny warm start on this machine, with the engines of a job, to estimate its duration.

Engines, trainer and the gate's reference run where they do in a job: the engines in parallel, each
on its own cores, the others in this process while the engines wait.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from essa.errors import SpecError
from essa.plan.job_speeds import JobSpeeds
from essa.ports import RunSite
from essa.spec import AlignmentJobSpec
from essa.spec.model import RejectionSamplingWarmStartSpec
from reward.resources import NOTHING_ALLOWED, RewardPolicy
from workers.cluster.placement import Node
from workers.cluster.pool import EnginePool
from workers.cluster.ray_cluster import ray_cluster
from workers.gate.check import ANSWER_TOKENS
from workers.gate.reference import Answer, ReferenceModel, fits_memory
from workers.job.context import JobContext, JobRun, open_context
from workers.job.engine_plan import EnginePlan
from workers.job.search_codec import search_layout
from workers.warm_start.pairs import SftPair
from workers.warm_start.sft import train_lora
from workers.warm_start.stage import sample_pairs

WARM_UP_PROMPTS = 4
ANSWERS = 128
"""Number of answers whose sampling is timed: about as many as in a small generation."""
TRAINING_STEPS = 3
"""Number of timed training steps, after a first, slower one that is not timed."""
REFERENCE_ANSWERS = 3


def try_speeds(
    spec: AlignmentJobSpec, site: RunSite, reward_policy: RewardPolicy = NOTHING_ALLOWED
) -> JobSpeeds:
    """Time the parts of a job. Models prepared for the trial stay in the cache.

    Args:
        spec: a job whose warm start samples from the base.
        site: surroundings of the run; nothing is written to the run's folder.
        reward_policy: the operator's permissions for rewards.
    Raises:
        JobCancelledError: the user cancelled.
        EssaError: the job cannot run here.
    """
    warm_start = spec.warm_start
    if not isinstance(warm_start, RejectionSamplingWarmStartSpec):
        raise SpecError(
            f"warm_start.type is {warm_start.type}; speeds are tried with rejection_sampling, "
            "which uses engines and trainer",
            field="warm_start.type",
        )
    with TemporaryDirectory(prefix="essa-trial-") as folder:
        job = JobRun(spec, replace(site, run_dir=Path(folder)), time.monotonic())
        job.stage("prepare_model", "looking for the base model")
        context = open_context(job, reward_policy)
        job.stage("start_engines", "starting Ray")
        began_s = time.monotonic()
        with ray_cluster() as nodes, closing(context.reward):
            cluster_s, _ = _lap(began_s)
            plan = _plan(context, nodes)
            began_s = time.monotonic()
            with context.engines(plan, nodes, search_layout(spec)) as pool:
                engines_s, _ = _lap(began_s)
                pairs, answer_s = _sampling(context, pool, warm_start)
                train_load_s, train_step_s = _training(context, pairs, warm_start, job.run_dir)
                load_s, reference_answer_s = _reference(context, plan.model_folder, pairs)
    return JobSpeeds(
        str(plan.spec.precision),
        cluster_s,
        engines_s,
        answer_s,
        train_load_s,
        train_step_s,
        load_s,
        reference_answer_s,
    )


def _plan(context: JobContext, nodes: list[Node]) -> EnginePlan:
    """Plan the engines in the formats that the job's first start would choose."""
    context.job.stage("prepare_model", "looking which number formats are fast")
    context.settle(nodes, None)
    return context.plan_search()


def _lap(began_s: float) -> tuple[float, float]:
    """Return the seconds since `began_s`, and the current time."""
    now_s = time.monotonic()
    return now_s - began_s, now_s


def _sampling(
    context: JobContext, pool: EnginePool, warm_start: RejectionSamplingWarmStartSpec
) -> tuple[list[SftPair], float]:
    """Return pairs of the base's best answers, and the seconds per answer."""
    evaluator = context.evaluator(pool, None)
    rows = context.data.train
    # The first batch includes the engines' one-off work, so it is not timed.
    evaluator.sample(
        None,
        rows[:WARM_UP_PROMPTS],
        samples=warm_start.samples_per_prompt,
        temperature=warm_start.temperature,
        label="warming up",
    )
    prompts = max(1, ANSWERS // warm_start.samples_per_prompt)
    few = warm_start.model_copy(update={"max_prompts": prompts})
    began_s = time.monotonic()
    pairs, _ = sample_pairs(few, rows, evaluator, context.encoder, context.job.say("speed"))
    answers = warm_start.samples_per_prompt * min(prompts, len(rows))
    return pairs, (time.monotonic() - began_s) / answers


def _training(
    context: JobContext,
    pairs: Sequence[SftPair],
    warm_start: RejectionSamplingWarmStartSpec,
    folder: Path,
) -> tuple[float, float]:
    """Return the seconds until the first step, and the seconds per step."""
    sft = warm_start.sft.model_copy(update={"epochs": 1})
    wanted = (TRAINING_STEPS + 1) * sft.batch_size
    repeated = [pairs[number % len(pairs)] for number in range(wanted)]
    say = context.job.say("speed")
    steps: list[float] = []

    def watch(
        text: str, done: int | None = None, total: int | None = None, eta_s: float | None = None
    ) -> None:
        say(text, done, total, eta_s)
        if done is not None:
            steps.append(time.monotonic())

    began_s = time.monotonic()
    train_lora(
        context.base.folder, repeated, warm_start.lora, sft, context.job.spec.seed,
        folder / "trained", watch, training=context.job.settled.training,
        should_stop=context.job.site.control.is_cancelled,
    )  # fmt: skip
    step_s = (steps[-1] - steps[0]) / TRAINING_STEPS
    return max(0.0, steps[0] - began_s - step_s), step_s


def _reference(context: JobContext, folder: Path, pairs: Sequence[SftPair]) -> tuple[float, float]:
    """Return the seconds to load the gate's reference, and to score one answer with it."""
    if not context.job.spec.engine.gate or not fits_memory(folder):
        return 0.0, 0.0
    context.job.say("speed")("loading the reference of the gate")
    began_s = time.monotonic()
    reference = ReferenceModel(folder)
    try:
        answers = [Answer(pair.prompt_ids, pair.completion_ids[:ANSWER_TOKENS]) for pair in pairs]
        reference.logprobs(None, answers[:1])
        load_s, began_s = _lap(began_s)
        timed = answers[:REFERENCE_ANSWERS]
        reference.logprobs(None, timed)
        return load_s, _lap(began_s)[0] / len(timed)
    finally:
        reference.close()
