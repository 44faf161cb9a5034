"""The tables of `essa plan`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from alignment_api.cli.terminal.text import duration
from essa.plan.forecast import Method, ScalingPoint, Setting, table_bytes
from essa.plan.measured import MeasuredEngines


def show_costs(
    setting: Setting,
    essa: Method,
    grpo: Method,
    full: Method,
    measured: MeasuredEngines | None,
) -> None:
    """Show both methods side by side; `full` exchanges gradients of the whole model."""
    console = Console()
    shape, device = setting.shape, setting.device
    console.print(
        f"{shape.parameters / 1e9:.3g}B parameters, {setting.gpus} x {device.name} of "
        f"{device.memory_bytes / 2**30:.0f} GiB; d = {setting.dimension:,}; "
        f"{setting.population} candidates x {setting.batch} prompts, answers of "
        f"{setting.answer_tokens:.0f} tokens, at most {setting.max_tokens}",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
    console.print(_source(setting, measured), highlight=False, soft_wrap=True)
    table = Table("", f"ESSA, {setting.precision}", "GRPO over LoRA, bf16")
    table.add_row("generation / step", seconds(essa.iteration_s), seconds(grpo.iteration_s))
    table.add_row(
        "answers in it", f"{setting.population * setting.batch:,}", f"{setting.step_batch:,}"
    )
    table.add_row("  rollouts", seconds(essa.rollout_s), seconds(grpo.rollout_s))
    table.add_row("  gradients", "-", seconds(grpo.train_s))
    table.add_row("  exchange", seconds(essa.exchange_s), seconds(grpo.exchange_s))
    table.add_row("sent by a GPU", size(essa.exchange_bytes), size(grpo.exchange_bytes))
    table.add_row(
        "  whole model's gradients",
        "-",
        f"{size(full.exchange_bytes)}, {seconds(full.exchange_s)}",
    )
    table.add_row("  new population, to an engine", size(table_bytes(setting)), "-")
    for name in dict.fromkeys([*essa.memory, *grpo.memory]):
        shown = (method.memory.get(name) for method in (essa, grpo))
        table.add_row(
            f"  {name.replace('_', ' ')}", *("-" if one is None else size(one) for one in shown)
        )
    table.add_row("memory of a GPU", *(size(sum(one.memory.values())) for one in (essa, grpo)))
    table.add_row("GPUs needed, one engine", str(essa.gpus_needed), str(grpo.gpus_needed))
    table.add_row("sequences decoded together", str(essa.sequences), str(grpo.sequences))
    rates = (one.engine.tokens_per_s(one.sequences, setting.answer_tokens) for one in (essa, grpo))
    table.add_row("tokens/s of an engine", *(f"{rate:,.0f}" for rate in rates))
    console.print(table)
    console.print(
        "A generation and a step are not worth the same: this is time for each, not time to a "
        "given quality.",
        soft_wrap=True,
    )


def show_scaling(points: Sequence[ScalingPoint], gpus_per_engine: int) -> None:
    """Show simulated generations on fleets of several sizes."""
    console = Console()
    table = Table(
        "engines", "GPUs", "items", "seconds", "even", "speedup", "efficiency", "busy",
        title="Simulated generation of ESSA", title_justify="left",
    )  # fmt: skip
    for column in table.columns:
        column.justify = "right"
    for point in points:
        table.add_row(
            f"{point.engines:,}",
            f"{point.engines * gpus_per_engine:,}",
            f"{point.items:,}",
            _plain(point.generation_s),
            _plain(point.even_s),
            f"{point.speedup:.1f}",
            f"{point.efficiency:.2f}",
            f"{point.busy_frac:.2f}",
        )
    console.print(table)
    console.print(
        "even: the work divided evenly and every batch full, as in the paper's latency model; "
        "efficiency: speedup over one engine, of each engine; busy: engines' time with any work.",
        soft_wrap=True,
    )
    lost, missing = sum(one.restarts for one in points), sum(one.missing for one in points)
    if lost:
        console.print(f"{lost} engines were lost and {missing} work items given up in all of these")


def show_paper(found: dict[str, Any]) -> None:
    """Show the paper's two data points beside what a latency model predicts for them."""
    console = Console()
    few, many = found["gpus"]
    table = Table(
        "minutes to 0.835", f"{few} GPUs", f"{many} GPUs", "speedup", "predicted",
        title="The paper's Qwen2.5-32B on PRM800K", title_justify="left",
    )  # fmt: skip
    predicted = found["predicted_speedup"]
    for name, bound in (("essa", "<"), ("grpo", "")):
        minutes = found[f"{name}_minutes"]
        table.add_row(
            name.upper(), f"{minutes[0]:g}", f"{bound}{minutes[1]:g}",
            f"{'>' if bound else ''}{found[name]['speedup']:.2f}", f"{predicted[name]:.2f}",
        )  # fmt: skip
    console.print(table)
    simulated = found["simulated_speedup"]
    beside = "" if simulated is None else f", and {simulated:.2f} in the simulation"
    console.print(
        f"ESSA: {found['essa']['speedup']:g} times over {many // few} times the GPUs is "
        f"super-linear and cannot come from the latency model, which gives {many // few} at most "
        f"({predicted['essa']:.2f} here{beside}). The runs differed in something else, such as "
        "generations to the target or how full batches were.",
        soft_wrap=True, highlight=False,
    )  # fmt: skip
    fixed = found["predicted_fixed_frac"]
    console.print(
        f"GRPO: {found['grpo']['speedup']:.2f} times means that {found['grpo']['fixed_frac']:.0%} "
        f"of its time on {few} GPUs does not shrink (Amdahl). The latency model finds "
        f"{fixed['grpo']:.2%} if gradients of LoRA are exchanged, and "
        f"{fixed['grpo_full_gradients']:.1%} if those of the whole model are, which is "
        f"{predicted['grpo_full_gradients']:.2f} times.",
        soft_wrap=True, highlight=False,
    )  # fmt: skip


def seconds(value: float) -> str:
    """Format seconds of any magnitude."""
    if value < 1e-3:
        return f"{1e6 * value:.3g} us"
    if value < 1:
        return f"{1e3 * value:.3g} ms"
    return f"{value:.3g} s" if value < 100 else duration(value)


def size(value: float) -> str:
    """Format bytes of any magnitude."""
    for unit, scale in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if value >= scale:
            return f"{_plain(value / scale)} {unit}"
    return f"{value:.3g} B"


def _plain(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _source(setting: Setting, measured: MeasuredEngines | None) -> str:
    if measured is not None:
        return (
            f"Speed: fitted to {len(measured.slowness)} turns of engines of a run, which it meets "
            f"within {measured.residual:.1%} (root mean square)."
        )
    if setting.tokens_per_s is not None:
        return f"Speed: {setting.tokens_per_s:g} tokens/s of one engine, as given."
    if setting.device.is_measured:
        return "Speed: from what was measured of a CPU core (docs/ENGINES.md)."
    return (
        "Speed: from the device's data sheet at an assumed efficiency; --tokens-per-s or "
        "--timeline replace it by what was measured."
    )
