"""From measured speeds to the size of the demo, and how long it takes. Pure.

The demo has a few sizes, largest first. It takes the first one that is done in time with its fewest
generations, and then as many generations as there is time for.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from essa.errors import SpecError
from essa.plan.job_speeds import JobSpeeds
from essa.spec import AlignmentJobSpec, RejectionSamplingWarmStartSpec

SETTING = (
    "search.sigma_init=3.0",
    "budget.target_score=null",
    "engine.precision=auto",
    "engine.kv_cache_gib=0.5",
)
"""What the demo has other than the job file, whatever its size: the step that the ladder takes here
with every seed, an end that can be foreseen, the base in the format that is fastest on the machine,
and memory for answers as short as these."""
LIMIT_S = 600.0
"""The demo is to end within so many seconds."""
AIM_S = 480.0
"""What it aims at: an estimate is not exact."""
OTHER_S = 15.0
"""Start of the job's process, what it reads and writes, its end."""
GATE_ANSWERS = 90
"""Scored by the gate's reference: random candidates are tried until they are strong enough."""
GATE_ROLLOUTS = 40
"""Answers of every engine to the gate."""
MODELS_TESTED = 3
TEST_SLACK = 1.2
"""A test may take so many times what is expected before the demo is late."""


ENGINE_BYTES = 1.8 * 2**30
"""Of one engine over SmolLM2-135M with the cache above."""
REST_BYTES = 3.0 * 2**30
"""Of everything else: training or the gate's reference, Ray, the service."""


@dataclass(frozen=True)
class Size:
    """Work of one demo: prompts of each set, generations at least and at most.

    Attributes:
        warm_start: prompts that the base is sampled on.
        batch: prompts of a generation.
        is_served: whether the test is repeated on the base that the adapter will be served on,
            with engines of its own.
    """

    warm_start: int
    validation: int
    test: int
    batch: int
    fewest: int
    most: int
    is_served: bool = False


SIZES = (
    Size(warm_start=160, validation=120, test=240, batch=24, fewest=10, most=12, is_served=True),
    Size(warm_start=128, validation=96, test=240, batch=16, fewest=8, most=12),
    Size(warm_start=96, validation=64, test=200, batch=12, fewest=8, most=10),
    Size(warm_start=64, validation=48, test=160, batch=12, fewest=6, most=8),
    Size(warm_start=48, validation=40, test=120, batch=12, fewest=4, most=6),
)


@dataclass(frozen=True)
class Scale:
    """A size, its generations, and what it is expected to take."""

    size: Size
    generations: int
    parts_s: Mapping[str, float]
    """Seconds from here to the end, by what they are for."""

    @property
    def seconds(self) -> float:
        """From here to the end."""
        return sum(self.parts_s.values())


def fitting_engines(wanted: int, cores: int, free_bytes: float) -> int:
    """Engines that have a core and memory each; one at least.

    Without swap a process that finds no memory is killed; one engine is slower, but ends.
    """
    in_memory = math.floor((free_bytes - REST_BYTES) / ENGINE_BYTES)
    return max(1, min(wanted, cores, in_memory))


def sampled_start(job: AlignmentJobSpec) -> RejectionSamplingWarmStartSpec:
    """The job's warm start, which the demo can scale.

    Raises:
        SpecError: it samples nothing.
    """
    if not isinstance(job.warm_start, RejectionSamplingWarmStartSpec):
        raise SpecError(
            f"warm_start.type is {job.warm_start.type}; the demo scales a warm start that samples "
            "from the base: set it to rejection_sampling",
            field="warm_start.type",
        )
    return job.warm_start


def choose_scale(job: AlignmentJobSpec, speeds: JobSpeeds, spent_s: float) -> Scale:
    """The largest demo that ends in time; the smallest there is where none does.

    Args:
        job: the demo's job; its population, warm start and times of validation are kept.
        spent_s: seconds since the demo's start.
    """
    left_s = AIM_S - spent_s
    fewest = [_scale(job, speeds, size, size.fewest) for size in SIZES]
    scale = next((one for one in fewest if one.seconds <= left_s), fewest[-1])
    while scale.generations < scale.size.most:
        larger = _scale(job, speeds, scale.size, scale.generations + 1)
        if larger.seconds > left_s:
            break
        scale = larger
    return scale


def _scale(job: AlignmentJobSpec, speeds: JobSpeeds, size: Size, generations: int) -> Scale:
    engines = job.engine.workers
    warm_start = sampled_start(job)
    sft = warm_start.sft
    sampled = size.warm_start * warm_start.samples_per_prompt
    steps = sft.epochs * math.ceil(size.warm_start / sft.batch_size)
    # The warm start is judged too, and the last generation in any case.
    validations = 1 + math.ceil(generations / job.evaluation.every)
    rollouts = generations * job.search.population * size.batch
    test_s = MODELS_TESTED * size.test * speeds.answer_s
    parts = {
        "start": OTHER_S + speeds.cluster_s + speeds.engines_s,
        "warm_start": sampled * speeds.answer_s + speeds.train_load_s + steps * speeds.train_step_s,
        "search": (rollouts + validations * size.validation) * speeds.answer_s,
        "test": test_s,
    }
    if speeds.reference_answer_s:
        scored_s = speeds.reference_load_s + GATE_ANSWERS * speeds.reference_answer_s
        parts["gate"] = scored_s + GATE_ROLLOUTS * engines * speeds.answer_s
    if size.is_served:
        parts["served"] = speeds.engines_s + test_s
    return Scale(size, generations, parts)


def overrides(scale: Scale, precision: str, spent_s: float) -> list[str]:
    """What the scale changes of the job file, as `--set` takes it.

    Args:
        precision: of the base that was measured.
        spent_s: seconds since the demo's start.
    """
    size = scale.size
    changes: dict[str, Any] = {
        "engine.precision": precision,
        "warm_start.max_prompts": size.warm_start,
        "data.validation.limit": size.validation,
        "data.test.limit": size.test,
        "batch_size": size.batch,
        "budget.generations": scale.generations,
        "budget.wall_s": _search_ends_s(scale, spent_s),
    }
    if not size.is_served:
        changes["evaluation.serving_precision"] = precision
    return [f"{name}={json.dumps(value)}" for name, value in changes.items()]


def _search_ends_s(scale: Scale, spent_s: float) -> float | None:
    """Seconds of the job after which its search must end, so that the rest is done in time.

    None on a machine that is too slow for the smallest demo: it takes what it takes.
    """
    if spent_s + scale.seconds > LIMIT_S:
        return None
    after_s = scale.parts_s["test"] + scale.parts_s.get("served", 0.0)
    return round(LIMIT_S - spent_s - TEST_SLACK * after_s - OTHER_S, 1)
