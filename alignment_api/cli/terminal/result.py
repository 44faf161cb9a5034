"""Show the result of a job."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from alignment_api.cli.terminal.text import constraint_text, duration, number
from essa.events import CompletionSample, ResultEvent, ScoreSummary

_MODELS = {"base": "base", "warm_start": "warm start", "aligned": "aligned"}
_SAMPLES = 5
_SIDE_BY_SIDE_COLUMNS = 100


def print_result(
    result: ResultEvent,
    console: Console | None = None,
    *,
    adapter: Path | None = None,
    base: str | None = None,
) -> None:
    """Print test scores with 95 % intervals, completions, and how to use the adapter.

    Args:
        result: the result of a job.
        console: console to print to; standard output by default.
        adapter: adapter's folder as the user sees it; by default the path in the result.
        base: base model to load the adapter onto; read from the adapter's configuration by default.
    """
    console = console or Console()
    adapter = adapter or Path(result.adapter)
    base = base or _base_of(adapter)
    console.print()
    console.print(_score_table(result))
    if any(score.constraints for score in result.test.values()):
        console.print(_constraint_table(result))
    moved = (
        f"{result.generations} generations, the result is of generation "
        f"{result.selected_generation}; stopped: "
        if result.generations
        else ""
    )
    console.print(
        f"{moved}{result.stop_reason}; {result.tokens:,} tokens in {duration(result.seconds)}",
        highlight=False,
    )
    for place, used in result.reward_costs.items():
        shown = ", ".join(f"{name} {value:g}" for name, value in used.items() if value is not None)
        console.print(f"{place} used: {shown}", highlight=False)
    samples = result.samples[:_SAMPLES]
    if samples:
        console.print()
        is_wide = console.width >= _SIDE_BY_SIDE_COLUMNS
        console.print(_sample_table(samples) if is_wide else _sample_blocks(samples))
    console.print(f"\nThe aligned adapter: {adapter}\n", highlight=False, soft_wrap=True)
    console.print(Text(_usage(adapter, base)), soft_wrap=True)


def _score_table(result: ResultEvent) -> Table:
    table = Table(title="Test scores", title_justify="left", box=None, padding=(0, 2, 0, 0))
    components = list(next(iter(result.test.values())).components) if result.test else []
    for name in ("model", "score", "95 % interval", *components, "prompts", "missing"):
        table.add_column(name, justify="left" if name == "model" else "right")
    _add_scores(table, result.test, components)
    if result.serving is not None:
        _add_scores(table, result.serving.test, components, f" on {result.serving.precision}")
    return table


def _constraint_table(result: ResultEvent) -> Table:
    table = Table(title="Constraints on the test set", title_justify="left", box=None)
    for name in ("model", "constraint", "95 % interval", "held"):
        table.add_column(name)
    for key, label in _MODELS.items():
        score = result.test.get(key)
        for one in score.constraints if score is not None else ():
            low, high = one.ci95 or (float("nan"), float("nan"))
            interval = f"{number(low)} to {number(high)}"
            style = "bold" if key == "aligned" else None
            held = "yes" if one.is_held else "no"
            table.add_row(label, constraint_text(one), interval, held, style=style)
    return table


def _add_scores(
    table: Table, scores: dict[str, ScoreSummary], components: list[str], where: str = ""
) -> None:
    for key, label in _MODELS.items():
        score = scores.get(key)
        if score is None:
            continue
        low, high = score.ci95
        table.add_row(
            label + where,
            number(score.mean),
            f"{number(low)} to {number(high)}",
            *(number(score.components.get(name)) for name in components),
            str(score.prompts),
            str(score.missing),
            style="bold" if key == "aligned" else None,
        )


def _sample_table(samples: list[CompletionSample]) -> Table:
    table = Table(title="Completions", title_justify="left", show_lines=True, expand=True)
    for name in ("prompt", *_MODELS.values()):
        table.add_column(name, ratio=1, overflow="fold")
    for sample in samples:
        answers = (getattr(sample, key) for key in _MODELS)
        table.add_row(*(Text(text.strip()) for text in (sample.prompt, *answers)))
    return table


def _sample_blocks(samples: list[CompletionSample]) -> Group:
    blocks: list[RenderableType] = []
    for sample in samples:
        blocks.append(Text(f"> {sample.prompt.strip()}", style="bold"))
        for key, label in _MODELS.items():
            answer = Text.assemble((f"{label}: ", "dim"), getattr(sample, key).strip())
            blocks.append(Padding(answer, (0, 0, 0, 2)))
        blocks.append(Text())
    return Group(*blocks)


def _base_of(adapter: Path) -> str:
    try:
        configuration = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return "BASE"  # the adapter lies on another machine
    return configuration.get("base_model_name_or_path") or "BASE"


def _usage(adapter: Path, base: str) -> str:
    serve = shlex.join(
        ["vllm", "serve", base, "--enable-lora", "--lora-modules", f"aligned={adapter}"]
    )
    return (
        "Use it from Python:\n\n"
        "    from peft import PeftModel\n"
        "    from transformers import AutoModelForCausalLM\n\n"
        f"    model = AutoModelForCausalLM.from_pretrained({base!r})\n"
        f"    model = PeftModel.from_pretrained(model, {str(adapter)!r})\n\n"
        f"or serve it:\n\n    {serve}\n"
    )
