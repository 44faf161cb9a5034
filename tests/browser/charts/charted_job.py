"""A job process with something for every chart: made-up numbers, written by the real records.

A job named `live` waits for the file `go` in its run folder before its last generations. One named
`silent` reports nothing, and waits for it to end.
"""

from __future__ import annotations

import math
import sys
import time
from pathlib import Path

import numpy as np

from alignment_api.execution.job_process import main
from essa.events import (
    ConstraintStatus,
    GenerationEvent,
    LadderEvent,
    LadderRung,
    ResultEvent,
    RoundEvent,
    ScoreSummary,
    StageEvent,
    StepEvent,
    ValidationEvent,
)
from essa.parametrize.adapter import LoraAdapter, LoraModule
from essa.parametrize.basis import BASIS_FILE, AdapterBasis
from essa.parametrize.codec import SingularValueCodec
from essa.ports import EventSink, RunSite
from essa.records.recorder import RunRecorder
from essa.spec import AlignmentJobSpec
from essa.spec.grpo import GrpoSpec
from essa.types import FloatArray, PopulationScores, Row, WorkSpan
from reward.resources import RewardPolicy

GENERATIONS, PAUSE_AFTER, EVERY = 24, 20, 4
POPULATION, PROMPTS, ENGINES = 16, 4, 2
LIMIT = 0.5
HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
WORDS = [
    "bright",
    "grey",
    "lovely",
    "quiet",
    "wonderful",
    "sunny",
    "dull",
    "cheerful",
    "windy",
    "fresh",
]


def run_job(spec: AlignmentJobSpec, site: RunSite, reward_policy: RewardPolicy) -> ResultEvent:
    """Report a whole job."""
    run_dir, sink = site.run_dir, site.sink
    if spec.name == "silent":
        return _when_told(run_dir, spec)
    if isinstance(spec.method, GrpoSpec):
        return _train(spec, run_dir, sink)
    rng = np.random.default_rng(spec.seed)
    codec = SingularValueCodec(AdapterBasis.decompose(_adapter(rng), "factors", 1.0))
    codec.basis.save(run_dir / BASIS_FILE)
    sink.emit(StageEvent(stage="search", total=GENERATIONS))
    sink.emit(_ladder())
    with RunRecorder(run_dir, spec.evaluation) as recorder:
        mean = np.zeros(codec.dimension)
        for generation in range(GENERATIONS + 1):
            while spec.name == "live" and generation > PAUSE_AFTER and not _may_go(run_dir):
                time.sleep(0.02)
            _report(generation, spec, rng, mean, sink, recorder)
            mean = mean + 0.05 * rng.normal(size=mean.shape)
        recorder.rollouts("test", None, _rows(5), _scores(rng, 3, 5, GENERATIONS, spec))
    result = _result(spec)
    sink.emit(result)
    return result


def _train(spec: AlignmentJobSpec, run_dir: Path, sink: EventSink) -> ResultEvent:
    """A job by gradients: no bases, no ladder, no vectors; its points are prompts."""
    assert isinstance(spec.method, GrpoSpec)
    rng = np.random.default_rng(spec.seed)
    with RunRecorder(run_dir, spec.evaluation) as recorder:
        for step in range(GENERATIONS + 1):
            if step:
                scores = _scores(rng, spec.method.group_size, PROMPTS, step, spec)
                recorder.rollouts("train", step, _rows(PROMPTS), scores)
                recorder.work("train", step, _spans(step, spec.method.group_size))
                sink.emit(_training_event(step, scores, spec))
            if step % EVERY == 0:
                found = _scores(rng, 1, 6, step, spec)
                recorder.rollouts("validation", step, _rows(6), found)
                sink.emit(_validation(step, spec))
        recorder.rollouts("test", None, _rows(5), _scores(rng, 3, 5, GENERATIONS, spec))
    result = _result(spec)
    sink.emit(result)
    return result


def _training_event(step: int, scores: PopulationScores, spec: AlignmentJobSpec) -> StepEvent:
    """What the loop of a training would say of these scores, one row for each answer of a group."""
    groups = scores.rewards_N_P.mean(axis=0)
    assert isinstance(spec.method, GrpoSpec)
    kl = {"kl": 0.002 * step} if spec.method.kl_coefficient else {}
    of_both = generation_event(step, scores, spec).model_dump(include=set(RoundEvent.model_fields))
    own = {
        "fitness": groups.tolist(),
        "best": float(groups.max()),
        "worst": float(groups.min()),
        "train_s": 6.0,
        "training": {
            "loss": 0.01 * math.sin(step),
            "grad_norm": 0.4 + 0.1 * math.cos(step),
            "learning_rate": 2e-4,
            "entropy": 2.0 * math.exp(-step / 20),
            "clip_ratio": 0.0,
            "groups_without_signal_frac": step / 100,
            **kl,
        },
    }
    return StepEvent(**(of_both | own))


def _when_told(run_dir: Path, spec: AlignmentJobSpec) -> ResultEvent:
    while not _may_go(run_dir):
        time.sleep(0.02)
    return _result(spec)


def _may_go(run_dir: Path) -> bool:
    return (run_dir / "go").exists()


def _report(
    generation: int,
    spec: AlignmentJobSpec,
    rng: np.random.Generator,
    mean: FloatArray,
    sink: EventSink,
    recorder: RunRecorder,
) -> None:
    recorder.vector(generation, mean)
    if generation:
        scores = _scores(rng, POPULATION, PROMPTS, generation, spec)
        recorder.rollouts("train", generation, _rows(PROMPTS), scores)
        recorder.work("train", generation, _spans(generation, POPULATION))
        sink.emit(generation_event(generation, scores, spec))
    if generation % EVERY == 0:
        recorder.rollouts("validation", generation, _rows(6), _scores(rng, 1, 6, generation, spec))
        recorder.work("validation", generation, _spans(generation + 0.7, 1))
        sink.emit(_validation(generation, spec))


def generation_event(
    generation: int, scores: PopulationScores, spec: AlignmentJobSpec
) -> GenerationEvent:
    """What the search would say of these scores."""
    fitness = scores.rewards_N_P.mean(axis=1)
    constraints = _constraints(generation, spec)
    return GenerationEvent(
        generation=generation,
        fitness=fitness.tolist(),
        best=float(fitness.max()),
        mean=float(fitness.mean()),
        worst=float(fitness.min()),
        sigma=4.0 * math.exp(-generation / 30),
        axis_ratio=1 + generation / 20,
        step_norm=1.0 + 0.2 * math.sin(generation),
        distance=math.sqrt(generation),
        reliability=0.55 + 0.35 * math.sin(generation / 2),
        missing_scores=0,
        generated_tokens=2000,
        tokens_per_s=900.0,
        rollout_s=2.0,
        reward_s=0.2,
        coordinator_s=0.01,
        elapsed_s=3.0 * generation,
        eta_s=3.0 * (GENERATIONS - generation),
        components={name: float(values.mean()) for name, values in scores.components.items()},
        constraints=constraints,
        feasible_frac=1 - generation / GENERATIONS if constraints else None,
        device_s=6.0 * generation,
        tokens=3000 * generation,
        samples=POPULATION * PROMPTS * generation,
    )


def _validation(generation: int, spec: AlignmentJobSpec) -> ValidationEvent:
    score = _level(generation, spec) - 0.012 * max(0, generation - 12)
    return ValidationEvent(
        generation=generation,
        score=score,
        ci95=(score - 0.04, score + 0.04),
        is_best=generation <= 12,
        components={"sentiment": score, "length": 0.2 + generation / 40},
        constraints=_constraints(generation, spec),
        is_feasible=None,
        elapsed_s=3.0 * generation + 0.5,
        device_s=6.0 * generation + 1,
        tokens=3000 * generation + 300,
        samples=POPULATION * PROMPTS * generation + 6,
    )


def _constraints(generation: int, spec: AlignmentJobSpec) -> list[ConstraintStatus]:
    if spec.method.type != "constrained_evolution":
        return []
    length = 0.2 + generation / 40
    return [
        ConstraintStatus(
            component="length",
            direction="<=",
            threshold=LIMIT,
            value=length,
            ci95=(length - 0.05, length + 0.05),
            multiplier=0.2 + generation / 60,
            violation=max(0.0, length - LIMIT),
            is_held=length <= LIMIT,
        )
    ]


def _level(generation: int, spec: AlignmentJobSpec) -> float:
    return 0.3 + 0.02 * spec.seed + 0.35 * (1 - math.exp(-generation / 8))


def _scores(
    rng: np.random.Generator, count: int, prompts: int, generation: int, spec: AlignmentJobSpec
) -> PopulationScores:
    rewards = _level(generation, spec) + 0.12 * rng.normal(size=(count, prompts))
    length = np.clip(0.2 + generation / 40 + 0.05 * rng.normal(size=(count, prompts)), 0, 1)
    return PopulationScores(
        rewards_N_P=rewards,
        components={"sentiment": rewards, "length": length},
        completions=[[_answer(rng) for _ in range(prompts)] for _ in range(count)],
        prompt_tokens=500,
        generated_tokens=1500,
        rollout_s=2.0,
        reward_s=0.2,
    )


def _answer(rng: np.random.Generator) -> str:
    first, second = rng.choice(WORDS, size=2)
    return f"The day is {first} and the evening {second}.\n{HOSTILE}"


def _rows(count: int) -> tuple[Row, ...]:
    return tuple(Row(index, f"Say a line about day {index}.\nBe brief.") for index in range(count))


def _spans(generation: float, items: int) -> tuple[WorkSpan, ...]:
    start = 3.0 * generation
    return tuple(
        WorkSpan(
            engine=item % ENGINES,
            started_s=start + 0.1 * (item // ENGINES % 4),
            ended_s=start + 1.2 + 0.1 * (item % 5),
            candidates=(item,),
            tokens=120 + 10 * item,
        )
        for item in range(items)
    )


def _ladder() -> LadderEvent:
    steps = ((0.5, 0.05), (1.0, 0.22), (2.0, 0.46), (4.0, 0.61), (8.0, 0.63))
    return LadderEvent(
        rungs=[
            LadderRung(
                sigma=sigma,
                reliability=reliability,
                mean_fitness=0.3 - 0.002 * sigma**2,
                best_fitness=0.32 + 0.05 * math.sqrt(sigma),
                fitness_std=0.02 * sigma,
            )
            for sigma, reliability in steps
        ],
        start_fitness=0.3,
        chosen_sigma=4.0,
        rule="the smallest that is reliable",
        tokens=12_000,
        seconds=20.0,
    )


def _adapter(rng: np.random.Generator, rank: int = 8, width: int = 32) -> LoraAdapter:
    modules = tuple(
        LoraModule(
            name=f"model.layers.{layer}.self_attn.{name}",
            lora_A=rng.normal(size=(rank, width)).astype(np.float32),
            lora_B=rng.normal(size=(width, rank)).astype(np.float32),
            scaling=2.0,
        )
        for layer in range(12)
        for name in ("q_proj", "v_proj")
    )
    config = {
        "peft_type": "LORA",
        "base_model_name_or_path": "tiny",
        "r": rank,
        "lora_alpha": 2.0 * rank,
        "target_modules": ["q_proj", "v_proj"],
    }
    return LoraAdapter(modules=modules, config=config)


def _result(spec: AlignmentJobSpec) -> ResultEvent:
    scores = {
        name: ScoreSummary(mean=mean, ci95=(mean - 0.05, mean + 0.05), prompts=200)
        for name, mean in (
            ("base", 0.1),
            ("warm_start", 0.25),
            ("aligned", 0.55 + 0.02 * spec.seed),
        )
    }
    return ResultEvent(
        test=scores,
        validation=scores["aligned"],
        selected_generation=12,
        generations=GENERATIONS,
        stop_reason="generations",
        seconds=3.0 * GENERATIONS,
        tokens=3000 * GENERATIONS,
        adapter="",
        samples=[],
    )


if __name__ == "__main__":
    sys.exit(main(run_job=run_job))
