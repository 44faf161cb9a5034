"""Forecast the cost of a setting: ESSA and GRPO side by side, and how ESSA scales."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from essa.errors import SpecError
from essa.parametrize.dimension import search_dimension
from essa.plan.device import SWITCH_BYTES_PER_S, Device
from essa.plan.engine_speed import EngineSpeed
from essa.plan.job_needs import PROMPT_TOKENS
from essa.plan.latency import (
    ESSA_BYTES_PER_WORKER,
    Link,
    essa_generation_s,
    gradient_step_s,
    trainer_share,
)
from essa.plan.made_up import made_up_lengths
from essa.plan.memory import Parts, essa_memory, gpus_for, grpo_memory
from essa.plan.shape import ModelShape
from essa.plan.simulation import Fleet, Simulated, simulate
from essa.spec.engine import Precision
from essa.spec.model import ATTENTION_MODULES

SIZES = tuple(2**power for power in range(11))
"""Numbers of engines in the scaling table: 1 to 1,024."""
USABLE_FRAC = 0.9
"""Share of a device's memory that an engine uses, as in `engine.gpu_memory_utilization`."""
FEWEST_SEQUENCES = 32
"""Minimum number of sequences that must fit beside an engine's weights; more devices make room."""
LINK = Link(25e9)
"""Link of every GPU: half of a 400 Gbit/s network adapter; assumed."""


@dataclass(frozen=True)
class Setting:
    """Setting whose cost is forecast.

    Attributes:
        gpus: number of GPUs in the whole run; CPU cores on a CPU.
        prompt_tokens, answer_tokens: mean lengths.
        spread: standard deviation over mean of the answer lengths.
        sequences: maximum number of sequences per engine batch; memory may allow fewer.
        gpus_per_engine: GPUs of one engine; None means the fewest that hold the model.
        tokens_per_s: measured rate of one engine with a full batch; overrides the device's figures.
        step_batch: number of samples in a GRPO step.
        micro_batch: number of samples in one backward pass.
    """

    shape: ModelShape
    device: Device
    gpus: int
    precision: Precision = Precision.BF16
    rank: int = 8
    alpha: float = 1.0
    modules: tuple[str, ...] = ATTENTION_MODULES
    population: int = 96
    batch: int = 100
    prompt_tokens: int = PROMPT_TOKENS
    max_tokens: int = 1024
    answer_tokens: float = 512.0
    spread: float = 0.5
    sequences: int = 192
    gpus_per_engine: int | None = None
    tokens_per_s: float | None = None
    speed: EngineSpeed | None = None
    """Speed fitted to a run; overrides all other figures of speed."""
    lengths: tuple[int, ...] = ()
    """Measured answer lengths in tokens; made-up ones if empty."""
    link: Link = LINK
    step_batch: int = 512
    micro_batch: int = 4
    optimiser: str = "adamw"

    @property
    def usable_bytes(self) -> float:
        """Usable memory of one device."""
        return USABLE_FRAC * self.device.memory_bytes

    @property
    def sequence_tokens(self) -> int:
        """Tokens of a prompt with the longest answer."""
        return self.prompt_tokens + self.max_tokens

    @property
    def dimension(self) -> int:
        """Search dimension D, as in figure 1 of the paper."""
        return search_dimension(
            self.shape.layers, self.rank, self.modules, alpha=self.alpha, target="factors"
        )

    def answer_lengths(self) -> Sequence[int]:
        """Return the answer lengths, in tokens, to draw from."""
        return self.lengths or made_up_lengths(self.answer_tokens, self.spread, self.max_tokens)


class Method(NamedTuple):
    """Needs and times of one method.

    Attributes:
        gpus_needed: smallest number of GPUs that the method runs on.
        memory: bytes on one device, by purpose.
        sequences: number of sequences that an engine decodes together.
        iteration_s: seconds of a generation or step, by the paper's latency model.
        rollout_s, train_s, exchange_s: parts of `iteration_s`.
        exchange_bytes: bytes that one device sends per iteration, by the paper's latency model.
    """

    gpus_needed: int
    memory: Parts
    sequences: int
    engine: EngineSpeed
    iteration_s: float
    rollout_s: float
    train_s: float
    exchange_s: float
    exchange_bytes: float


def plan_essa(setting: Setting) -> Method:
    """Forecast one generation of ESSA.

    Raises:
        SpecError: the devices cannot hold the model.
    """

    gpus, sequences = _essa_engine(setting)
    speed = _speed(setting, setting.precision, gpus)
    rollout_s = essa_generation_s(
        population=setting.population,
        batch=setting.batch,
        sample_s=speed.sample_s(sequences, setting.answer_tokens),
        workers=setting.gpus,
        link=Link(float("inf")),
        workers_per_instance=gpus,
    )
    exchange_s = setting.link.all_gather_s(ESSA_BYTES_PER_WORKER, setting.gpus)
    return Method(
        gpus_needed=gpus,
        memory=_each(_essa_memory(setting, sequences * setting.sequence_tokens), gpus),
        sequences=sequences,
        engine=speed,
        iteration_s=rollout_s + exchange_s,
        rollout_s=rollout_s,
        train_s=0.0,
        exchange_s=exchange_s,
        exchange_bytes=ESSA_BYTES_PER_WORKER * (setting.gpus - 1) / setting.gpus,
    )


def plan_grpo(setting: Setting, *, is_full_model: bool = False) -> Method:
    """Forecast one step of GRPO with LoRA on a base in 16 bits.

    Args:
        is_full_model: exchange 16-bit gradients of the whole model, as in the paper's formula,
            although the paper's baseline trains LoRA.
    Raises:
        SpecError: the devices cannot hold the model.
    """

    def memory(cached_tokens: float) -> Parts:
        return grpo_memory(
            setting.shape,
            precision=Precision.BF16,
            rank=setting.rank,
            modules=setting.modules,
            optimiser=setting.optimiser,
            micro_batch=setting.micro_batch,
            sequence_tokens=setting.sequence_tokens,
            cached_tokens=cached_tokens,
        )

    gpus = _gpus(setting, memory(0.0), None)
    sequences = _sequences(setting, memory(0.0), gpus)
    speed = _speed(setting, Precision.BF16, gpus)
    parts = memory(sequences * setting.sequence_tokens)
    gradient_bytes = 2.0 * setting.shape.parameters if is_full_model else parts["gradients"]
    sample_s = speed.sample_s(sequences, setting.answer_tokens)
    tokens = setting.prompt_tokens + setting.answer_tokens
    train_sample_s = setting.device.train_sample_s(setting.shape, tokens, gpus)
    iteration_s = gradient_step_s(
        batch=setting.step_batch,
        sample_s=sample_s,
        train_sample_s=train_sample_s,
        gradient_bytes=gradient_bytes,
        workers=setting.gpus,
        link=setting.link,
        workers_per_instance=gpus,
        workers_per_trainer=gpus,
    )
    exchange_s = setting.link.all_reduce_s(gradient_bytes, setting.gpus)
    train_frac = trainer_share(sample_s=sample_s, train_sample_s=train_sample_s)
    return Method(
        gpus_needed=gpus,
        memory=_each(parts, gpus),
        sequences=sequences,
        engine=speed,
        iteration_s=iteration_s,
        rollout_s=(iteration_s - exchange_s) * (1 - train_frac),
        train_s=(iteration_s - exchange_s) * train_frac,
        exchange_s=exchange_s,
        exchange_bytes=2 * gradient_bytes * (setting.gpus - 1) / setting.gpus,
    )


class ScalingPoint(NamedTuple):
    """Simulated generations on a given number of engines.

    Attributes:
        generation_s: mean seconds of a generation.
        even_s: seconds by the paper's latency model: evenly divided work, every batch full.
        efficiency: speedup over one engine, divided by the number of engines.
        busy_frac: share of the engines' time in which they had work.
    """

    engines: int
    items: int
    generation_s: float
    even_s: float
    speedup: float
    efficiency: float
    busy_frac: float
    restarts: int
    missing: int


def plan_scaling(
    setting: Setting,
    fleet: Fleet,
    sizes: Sequence[int] = SIZES,
    *,
    generations: int = 3,
    seed: int = 0,
) -> list[ScalingPoint]:
    """Simulate the same generations on fleets of several sizes."""
    essa = plan_essa(setting)
    lengths = setting.answer_lengths()

    def simulated(engines: int) -> Simulated:
        return simulate(
            fleet,
            engines,
            population=setting.population,
            batch=setting.batch,
            lengths=lengths,
            generations=generations,
            seed=seed,
        )

    alone_s = simulated(1).seconds.mean()
    points: list[ScalingPoint] = []
    for size in sizes:
        found = simulated(size)
        seconds = float(found.seconds.mean())
        even_s = essa.rollout_s * setting.gpus / (essa.gpus_needed * size)
        points.append(
            ScalingPoint(
                engines=size,
                items=found.items,
                generation_s=seconds,
                even_s=even_s,
                speedup=float(alone_s / seconds),
                efficiency=float(alone_s / seconds / size),
                busy_frac=found.busy_s / (size * float(found.seconds.sum())),
                restarts=found.restarts,
                missing=found.missing,
            )
        )
    return points


def table_bytes(setting: Setting) -> float:
    """Return the bytes of a population as sent to every engine: the scales of all candidates."""
    return 4.0 * setting.population * setting.dimension


def overhead_s(setting: Setting) -> float:
    """Return the seconds per generation for sending the population's table into the engines."""
    sent = table_bytes(setting)
    return sent / setting.link.bytes_per_s + sent / SWITCH_BYTES_PER_S


def _each(parts: Parts, gpus: int) -> Parts:
    return {name: size / gpus for name, size in parts.items()}


def _essa_memory(setting: Setting, cached_tokens: float) -> Parts:
    return essa_memory(
        setting.shape,
        precision=setting.precision,
        rank=setting.rank,
        modules=setting.modules,
        dimension=setting.dimension,
        population=setting.population,
        cached_tokens=cached_tokens,
    )


def _essa_engine(setting: Setting) -> tuple[int, int]:
    """Return the devices of one engine, and the sequences that it decodes together."""
    fixed = _essa_memory(setting, 0.0)
    gpus = _gpus(setting, fixed, setting.gpus_per_engine)
    return gpus, _sequences(setting, fixed, gpus)


def _gpus(setting: Setting, fixed: Parts, wanted: int | None) -> int:
    """Return the devices of one engine; `fixed` is its memory without keys and values."""
    fixed_bytes = sum(fixed.values())
    cache_bytes = setting.shape.cache_bytes(FEWEST_SEQUENCES * setting.sequence_tokens)
    gpus = wanted or gpus_for(fixed_bytes + cache_bytes, setting.usable_bytes)
    if gpus > setting.gpus:
        raise SpecError(
            f"--gpus is {setting.gpus}, but one engine needs {gpus} of "
            f"{setting.device.memory_bytes / 2**30:g} GiB; raise --gpus or --gpu-memory-gib, or "
            "choose a smaller --precision or --max-tokens"
        )
    return gpus


def _sequences(setting: Setting, fixed: Parts, gpus: int) -> int:
    """Return how many sequences of full length fit into one engine."""
    left_bytes = gpus * setting.usable_bytes - sum(fixed.values())
    room = int(left_bytes // setting.shape.cache_bytes(setting.sequence_tokens))
    if room < 1:
        raise SpecError(
            f"--gpus-per-engine is {gpus}, which leaves no room for a sequence of "
            f"{setting.sequence_tokens} tokens beside the model; raise it, or choose a smaller "
            "--precision or --max-tokens"
        )
    return min(setting.sequences, room)


def _speed(setting: Setting, precision: Precision, gpus: int) -> EngineSpeed:
    """Return an engine's speed for either method, corrected by the measured rate of ESSA's."""
    if setting.speed is not None:
        return setting.speed
    speed = _reckoned_speed(setting, precision, gpus)
    if setting.tokens_per_s is None:
        return speed
    own_gpus, own_sequences = _essa_engine(setting)
    own = _reckoned_speed(setting, setting.precision, own_gpus)
    reckoned = own.tokens_per_s(own_sequences, setting.answer_tokens)
    return speed.slower(reckoned / setting.tokens_per_s)


def _reckoned_speed(setting: Setting, precision: Precision, gpus: int) -> EngineSpeed:
    return setting.device.engine_speed(
        setting.shape,
        precision,
        prompt_tokens=setting.prompt_tokens,
        answer_tokens=setting.answer_tokens,
        devices=gpus,
    )
