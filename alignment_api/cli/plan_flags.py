"""The flags of `essa plan`. Imported for every help text, so it imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Group, Parameter

_MODEL, _WORK, _MACHINE, _SIMULATION, _OUTPUT = (
    Parameter(group=Group.create_ordered(name))
    for name in ("Model", "Work", "Machine", "Simulation", "Output")
)


@Parameter("*")
@dataclass(frozen=True, kw_only=True)
class PlanFlags:
    """Flags that describe the planned run and the output."""

    model: Annotated[str, _MODEL] = "qwen2.5-32b"
    """Name (smollm2-135m, qwen2.5-7b, -32b or -72b, llama-3.1-8b), folder with config.json, or hub
    name of a model that is on this machine."""
    precision: Annotated[Literal["bf16", "int8", "int4"], _MODEL] = "bf16"
    """Precision of the base under search; GRPO's is bf16."""
    rank: Annotated[int, _MODEL] = 8
    """Rank of the adapter."""
    alpha: Annotated[float, _MODEL] = 1.0
    """Fraction of singular values that is searched."""
    modules: Annotated[str, _MODEL, Parameter(metavar="A,B")] = "q_proj,k_proj,v_proj,o_proj"
    """Adapted layers."""

    population: Annotated[int, _WORK] = 96
    """Candidates per generation."""
    batch_size: Annotated[int, _WORK] = 100
    """Prompts per generation, for every candidate."""
    prompt_tokens: Annotated[int, _WORK] = 128
    """Tokens per prompt."""
    max_tokens: Annotated[int, _WORK] = 1024
    """Tokens of the longest answer."""
    answer_tokens: Annotated[float | None, _WORK] = None
    """Mean tokens per answer (default: half of --max-tokens)."""
    length_spread: Annotated[float, _WORK] = 0.5
    """Standard deviation of answers' lengths over their mean."""
    grpo_batch: Annotated[int, _WORK] = 512
    """Samples of a GRPO step."""
    micro_batch: Annotated[int, _WORK] = 4
    """Samples of one backward pass of GRPO."""
    optimiser: Annotated[Literal["adamw", "adamw_8bit", "lion", "sgd"], _WORK] = "adamw"
    """Optimiser of GRPO."""

    device: Annotated[Literal["h100", "h200", "a100", "cpu-core"], _MACHINE] = "h100"
    """Device of the run. The speed of cpu-core is measured, that of GPUs half the data sheet's."""
    gpus: Annotated[int, _MACHINE] = 16
    """Devices of the run."""
    gpu_memory_gib: Annotated[float | None, _MACHINE] = None
    """Memory of one device (default: the device's own)."""
    gpus_per_engine: Annotated[int | None, _MACHINE] = None
    """Devices of one engine, by tensor parallelism (default: the fewest that hold the model)."""
    sequences: Annotated[int, _MACHINE] = 192
    """Maximum number of sequences that an engine decodes together."""
    tokens_per_s: Annotated[float | None, _MACHINE] = None
    """Tokens per second of one engine with a full batch, if measured."""
    bandwidth: Annotated[float, _MACHINE, Parameter(metavar="GB_PER_S")] = 25.0
    """Bandwidth between devices, sustained by each."""

    timeline: Annotated[Path | None, _SIMULATION, Parameter(metavar="RUN_DIR")] = None
    """Folder of a run to take engines' speed and answers' lengths from."""
    slowness_spread: Annotated[float, _SIMULATION] = 0.03
    """Spread of engines' speeds; measured between two starts."""
    stragglers: Annotated[float, _SIMULATION, Parameter(metavar="FRAC")] = 0.0
    """Share of engines that take twice as long."""
    failures_per_day: Annotated[float, _SIMULATION] = 0.0
    """Failures per engine and day; a failed engine's items restart elsewhere."""
    restart_s: Annotated[float, _SIMULATION] = 120.0
    """Seconds to restart a lost engine."""
    generations: Annotated[int, _SIMULATION] = 3
    """Generations to simulate for each size."""
    seed: Annotated[int, _SIMULATION] = 0
    """Seed of the simulation."""

    paper: Annotated[bool, _OUTPUT] = False
    """Show the paper's 16 and 128 GPUs beside the prediction; sets model, rank, population and
    batch to the paper's."""
    json: Annotated[bool, _OUTPUT] = False
    """Print everything as one JSON object."""
