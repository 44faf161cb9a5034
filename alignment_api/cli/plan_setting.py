"""Turn the flags of `essa plan` into a setting; errors name the flag at fault."""

from __future__ import annotations

import json
import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from alignment_api.cli.plan_flags import PlanFlags
from alignment_api.settings import Settings
from essa.errors import SpecError
from essa.plan import paper
from essa.plan.base_config import base_config
from essa.plan.device import DEVICES, GIB, Device
from essa.plan.forecast import Setting, overhead_s
from essa.plan.latency import Link
from essa.plan.made_up import made_up_slowness
from essa.plan.measured import MeasuredEngines, engine_works, fit_speed, split_by
from essa.plan.shape import NAMED, ModelShape, named_shape, read_shape
from essa.plan.simulation import Fleet
from essa.records.folder import PROVENANCE_FILE
from essa.records.timeline import FILE, read_timeline
from essa.spec.engine import Precision

_AT_LEAST_ONE = (
    "rank", "population", "batch_size", "prompt_tokens", "max_tokens", "grpo_batch", "micro_batch",
    "gpus", "gpus_per_engine", "sequences", "generations",
)  # fmt: skip
_ABOVE_ZERO = ("alpha", "answer_tokens", "gpu_memory_gib", "tokens_per_s", "bandwidth")
_NOT_NEGATIVE = (
    "length_spread", "slowness_spread", "stragglers", "failures_per_day", "restart_s", "seed",
)  # fmt: skip


def setting_of(flags: PlanFlags, home: Path | None) -> Setting:
    """Return the setting that the flags describe.

    Raises:
        SpecError: a flag's value is invalid; the message names both.
    """
    _check(flags)
    answer_tokens = flags.answer_tokens or flags.max_tokens / 2
    setting = Setting(
        shape=_shape(flags.model, home),
        device=_device(flags),
        gpus=flags.gpus,
        precision=Precision(flags.precision),
        rank=flags.rank,
        alpha=flags.alpha,
        modules=tuple(flags.modules.split(",")),
        population=flags.population,
        batch=flags.batch_size,
        prompt_tokens=flags.prompt_tokens,
        max_tokens=flags.max_tokens,
        answer_tokens=answer_tokens,
        spread=flags.length_spread,
        sequences=flags.sequences,
        gpus_per_engine=flags.gpus_per_engine,
        tokens_per_s=flags.tokens_per_s,
        link=Link(1e9 * flags.bandwidth),
        step_batch=flags.grpo_batch,
        micro_batch=flags.micro_batch,
        optimiser=flags.optimiser,
    )
    if flags.paper:
        setting = paper_setting(setting)
    return setting


def paper_setting(setting: Setting) -> Setting:
    """Return the setting with the paper's scaling run in place of its own numbers."""
    return replace(
        setting,
        shape=NAMED[paper.MODEL],
        rank=paper.RANK,
        population=paper.POPULATION,
        batch=paper.BATCH,
    )


def measured_setting(setting: Setting, measured: MeasuredEngines) -> Setting:
    """Return the setting with the measured speed and answer lengths of real engines."""
    mean = sum(measured.lengths) / len(measured.lengths)
    return replace(
        setting,
        speed=measured.speed,
        lengths=measured.lengths,
        answer_tokens=mean,
        sequences=measured.capacity,
    )


def measured_engines(run_dir: Path, setting: Setting) -> MeasuredEngines:
    """Measure the engines of a run from its timeline.

    Raises:
        SpecError: the folder has no timeline.
        DataError: the timeline has no usable data.
    """
    timeline = read_timeline(run_dir)
    if not timeline:
        raise SpecError(
            f"--timeline is {run_dir}, where there is no {FILE}; give the folder `run` of a job"
        )
    work = _work_of(run_dir, setting)
    split = split_by(setting.spread, work.max_tokens)
    return fit_speed(engine_works(timeline, work.prompts, split), work.capacity)


def fleet_of(
    flags: PlanFlags,
    setting: Setting,
    sequences: int,
    engine: Any,
    measured: MeasuredEngines | None,
) -> Fleet:
    """Build the engines to simulate.

    Args:
        sequences: number of sequences that one engine decodes together.
        engine: speed of one engine.
        measured: spreads measured in a run, used in place of the flags' assumptions.
    """
    slowness = measured.slowness if measured else made_up_slowness(flags.slowness_spread)
    if flags.stragglers:
        slow = made_up_slowness(0.0, flags.stragglers, seed=flags.seed + 1)
        slowness = tuple(a * b for a, b in zip(_repeated(slowness, len(slow)), slow, strict=True))
    return Fleet(
        engine,
        sequences,
        slowness=slowness,
        failures_per_h=flags.failures_per_day / 24,
        restart_s=flags.restart_s,
        overhead_s=overhead_s(setting),
    )


def _repeated(values: tuple[float, ...], count: int) -> list[float]:
    return [values[index % len(values)] for index in range(count)]


class _RunWork(NamedTuple):
    """Work of a run's engines: sequences per candidate by kind of evaluation, sequences decoded
    together, and the longest answer."""

    prompts: dict[str, int]
    capacity: int
    max_tokens: int


def _work_of(run_dir: Path, setting: Setting) -> _RunWork:
    try:
        record = json.loads((run_dir / PROVENANCE_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        # A run of another program, or of an older version: the flags describe the work instead.
        return _RunWork({"train": setting.batch}, setting.sequences, setting.max_tokens)
    try:
        spec, sizes = record["spec"], record["sizes"]
        samples, engine = spec["rollout"]["samples_per_prompt"], spec["engine"]
        return _RunWork(
            {
                "train": samples * spec["batch_size"],
                "validation": samples * sizes["validation"],
            },
            engine.get("max_num_seqs") or engine["max_batch"],
            spec["rollout"]["max_tokens"],
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise SpecError(
            f"--timeline is {run_dir}, whose {PROVENANCE_FILE} cannot be read: {error!r}"
        ) from error


def _check(flags: PlanFlags) -> None:
    for names, is_right, wanted in (
        (_AT_LEAST_ONE, lambda value: value >= 1, "a number of 1 at least"),
        (_ABOVE_ZERO, lambda value: 0 < value < math.inf, "a number above 0"),
        (_NOT_NEGATIVE, lambda value: 0 <= value < math.inf, "0 or more"),
    ):
        for name in names:
            value = getattr(flags, name)
            if value is not None and not is_right(value):
                raise SpecError(f"{_flag(name)} is {value}; expected {wanted}")
    linear = NAMED["smollm2-135m"].linear
    unknown = [name for name in flags.modules.split(",") if name not in linear]
    if unknown:
        raise SpecError(f"--modules has {', '.join(unknown)}; known are {', '.join(linear)}")
    if flags.stragglers > 1:
        raise SpecError(f"--stragglers is {flags.stragglers}; it is a share, at most 1")
    if (flags.answer_tokens or 0) > flags.max_tokens:
        raise SpecError(
            f"--answer-tokens is {flags.answer_tokens:g}, above --max-tokens "
            f"{flags.max_tokens}; lower it, or raise --max-tokens"
        )


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _shape(model: str, home: Path | None) -> ModelShape:
    place = Path(model).expanduser()
    path = str(place.parent) if place.name == "config.json" else model
    settings = Settings.from_environment(os.environ, home=home)
    config = base_config(path, settings.cache_dir)
    if config is not None:
        return read_shape(config)
    shape = named_shape(model)
    if shape is None:
        raise SpecError(
            f"--model is {model}; it is no folder with a config.json, not on this "
            f"machine, and none of {', '.join(NAMED)}"
        )
    return shape


def _device(flags: PlanFlags) -> Device:
    device = DEVICES[flags.device]
    if flags.gpu_memory_gib is None:
        return device
    return replace(device, memory_bytes=flags.gpu_memory_gib * GIB)
