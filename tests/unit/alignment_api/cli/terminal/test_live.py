"""What a user sees of a job."""

from __future__ import annotations

import io
import json
import math
import re
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from alignment_api.cli.terminal import live
from alignment_api.cli.terminal.live import LiveView, print_result
from alignment_api.cli.terminal.text import duration, event_line, number
from essa.events import (
    CompletionSample,
    ErrorEvent,
    GateEvent,
    GenerationEvent,
    LadderEvent,
    LadderRung,
    ResultEvent,
    ScoreSummary,
    ServingScores,
    StageEvent,
    StepEvent,
    ValidationEvent,
    WarningEvent,
)
from tests.narrowing import of_kind

OF_BOTH: dict[str, Any] = {
    "generation": 3, "fitness": [0.6, None], "best": 0.6, "mean": 0.4, "worst": 0.1,
    "step_norm": 1, "distance": 2, "missing_scores": 1, "generated_tokens": 900,
    "tokens_per_s": 612.4, "rollout_s": 1, "reward_s": 0, "coordinator_s": 0, "elapsed_s": 42,
    "eta_s": 83,
}  # fmt: skip
GENERATION = GenerationEvent(sigma=4.125, reliability=0.71, **OF_BOTH)
STEP = StepEvent(train_s=12.34, training={"grad_norm": 0.4567}, **OF_BOTH)
LADDER = LadderEvent(
    rungs=[
        LadderRung(sigma=sigma, reliability=r, mean_fitness=0.2, best_fitness=0.4, fitness_std=0.1)
        for sigma, r in ((1, None), (4, 0.83))
    ],
    start_fitness=0.2,
    chosen_sigma=4,
    rule="largest reliable",
    tokens=100,
    seconds=9,
)
GATE = GateEvent(
    precision="int8",
    base_nats=0.0421,
    warm_start_nats=0.05,
    zeroed_nats=0,
    candidates=[0.04, 0.19],
    effect_nats=1.5,
    seconds=12,
)
VALIDATION = ValidationEvent(generation=3, score=0.55, ci95=(0.5, 0.6), is_best=True)
EVENTS = [
    StageEvent(stage="search", done=3, total=9),
    LADDER,
    GENERATION,
    VALIDATION,
    WarningEvent(code="low_reliability", message="raise [search.sigma_init]"),
    ErrorEvent(code="engine_error", message="broken"),
]


def console_of(width: int = 140, is_terminal: bool = False) -> Console:
    return Console(file=io.StringIO(), width=width, force_terminal=is_terminal)


def text_of(console: Console) -> str:
    return of_kind(io.StringIO, console.file).getvalue()


def result(adapter: str, samples: int = 7) -> ResultEvent:
    return ResultEvent(
        test={
            "base": ScoreSummary(mean=0.1, ci95=(0.05, 0.15), prompts=9, components={"tone": 0.3}),
            "warm_start": ScoreSummary(
                mean=float("nan"), ci95=(math.nan, math.nan), prompts=200, missing=200
            ),
            "aligned": ScoreSummary(mean=0.7, ci95=(0.65, 0.75), prompts=200),
        },
        validation=None,
        selected_generation=6,
        generations=8,
        stop_reason="target_score",
        seconds=421,
        tokens=12345,
        adapter=adapter,
        samples=[
            CompletionSample(prompt=f"prompt {n}", base=f"b{n}", warm_start=f"w{n}", aligned="[x]")
            for n in range(samples)
        ],
    )


def test_elsewhere_than_on_a_terminal_every_event_is_one_line() -> None:
    console = console_of(width=40)
    with LiveView(console, "upbeat") as view:
        for event in EVENTS:
            view.on_event(event)
    lines = text_of(console).splitlines()
    assert len(lines) == len(EVENTS)
    assert lines[2] == (
        "generation 3  best 0.600  mean 0.400  worst 0.100  sigma 4.12  reliability 0.71  "
        "612 tok/s  42 s  ETA 1 min 23 s  missing 1"
    )
    assert lines[4] == "warning (low_reliability): raise [search.sigma_init]"


def test_on_a_terminal_the_table_has_generations_and_validation_scores() -> None:
    console = console_of(is_terminal=True)
    with LiveView(console, "upbeat") as view:
        for event in EVENTS:
            view.on_event(event)
    last_frame = text_of(console).rsplit("upbeat: ", 1)[1]
    for words in ("3/9", "ETA 1 min 23 s", "0.600", "0.550*", "4.12", "0.71", "612", "42 s"):
        assert words in last_frame
    assert "largest reliable" in text_of(console)
    assert "raise [search.sigma_init]" in text_of(console)


def test_elsewhere_a_quiet_stage_is_shown_again_with_its_seconds() -> None:
    console = console_of()
    stage = StageEvent(stage="start_engines", message="starting engines", done=1, total=2)
    with LiveView(console, quiet_s=0.05) as view:
        view.on_event(stage)
        deadline_s = time.monotonic() + 10
        while text_of(console).count("\n") < 3 and time.monotonic() < deadline_s:
            time.sleep(0.01)
    first, *more = text_of(console).splitlines()
    assert first == "[start_engines] 1/2 starting engines"
    assert len(more) >= 2
    assert all(re.fullmatch(re.escape(first) + r", for \d+ s", line) for line in more)


def test_elsewhere_a_stage_that_moves_is_not_shown_again() -> None:
    console = console_of()
    with LiveView(console, quiet_s=0.5) as view:
        for step in range(1, 9):
            view.on_event(StageEvent(stage="warm_start", message="steps", done=step, total=9))
            time.sleep(0.1)
    lines = text_of(console).splitlines()
    assert lines == [f"[warm_start] {step}/9 steps" for step in range(1, 9)]


def test_on_a_terminal_seconds_move_while_nothing_comes(monkeypatch) -> None:
    console = console_of(is_terminal=True)
    monkeypatch.setattr(live, "_SHOWN_QUIET_S", 0.5)
    with LiveView(console) as view:
        view.on_event(StageEvent(stage="gate", message="checking", done=1, total=4))
        deadline_s = time.monotonic() + 10
        while "checking, for 2 s" not in text_of(console) and time.monotonic() < deadline_s:
            time.sleep(0.05)
    assert "gate  1/4 checking, for 1 s" in text_of(console)
    assert "gate  1/4 checking, for 2 s" in text_of(console)


def test_a_stage_that_is_counted_says_what_is_left() -> None:
    event = StageEvent(stage="warm_start", message="steps, loss 2.9", done=3, total=9, eta_s=64)
    assert event_line(event) == "[warm_start] 3/9 steps, loss 2.9, 1 min 04 s left"
    assert event_line(StageEvent(stage="done")) == "[done]"


def test_a_generation_reported_again_replaces_what_came_after_it() -> None:
    console = console_of(is_terminal=True)
    with LiveView(console) as view:
        for generation in (1, 2, 3, 2):
            view.on_event(GENERATION.model_copy(update={"generation": generation}))
    rows = text_of(console).rsplit("worst", 1)[1].splitlines()[1:]
    assert [row.split()[0] for row in rows if "0.600" in row] == ["1", "2"]


def test_the_result_shows_scores_completions_and_how_to_use_the_adapter(tmp_path: Path) -> None:
    configuration = {"base_model_name_or_path": "models/smol"}
    (tmp_path / "adapter_config.json").write_text(json.dumps(configuration))
    console = console_of()
    print_result(result(str(tmp_path)), console)
    shown = text_of(console)
    for words in ("0.650 to 0.750", "- to -", "tone", "target_score", "7 min 01 s", "12,345"):
        assert words in shown
    assert "prompt 4" in shown
    assert "prompt 5" not in shown
    assert "[x]" in shown
    assert "AutoModelForCausalLM.from_pretrained('models/smol')" in shown
    assert f"PeftModel.from_pretrained(model, '{tmp_path}')" in shown
    serve = f"vllm serve models/smol --enable-lora --lora-modules aligned={tmp_path}"
    assert serve in shown


def test_scores_on_the_base_that_is_served_stand_below_those_of_the_search(tmp_path: Path) -> None:
    serving = ServingScores(
        precision="bf16",
        test={
            "base": ScoreSummary(mean=0.12, ci95=(0.1, 0.2), prompts=9, components={"tone": 0.31}),
            "aligned": ScoreSummary(mean=0.64, ci95=(0.6, 0.68), prompts=200, missing=3),
        },
    )
    console = console_of()
    searched = result(str(tmp_path), samples=0)
    print_result(searched.model_copy(update={"serving": serving}), console)
    rows = [line.split() for line in text_of(console).splitlines()]
    first = rows.index(["base", "0.100", "0.050", "to", "0.150", "0.300", "9", "0"])
    assert rows[first + 3 : first + 5] == [
        ["base", "on", "bf16", "0.120", "0.100", "to", "0.200", "0.310", "9", "0"],
        ["aligned", "on", "bf16", "0.640", "0.600", "to", "0.680", "-", "200", "3"],
    ]
    console = console_of()
    print_result(searched, console)
    assert "on bf16" not in text_of(console)


def test_on_a_narrow_terminal_completions_stand_one_below_the_other(tmp_path: Path) -> None:
    console = console_of(width=60)
    print_result(result(str(tmp_path / "not-here"), samples=1), console)
    shown = text_of(console)
    lines = shown.splitlines()
    first = lines.index("> prompt 0")
    assert [line.strip() for line in lines[first + 1 : first + 4]] == [
        "base: b0",
        "warm start: w0",
        "aligned: [x]",
    ]
    assert "vllm serve BASE" in shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(None, "-"), (0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (7620, "2 h 07 min")],
)
def test_durations_are_readable(seconds: float | None, shown: str) -> None:
    assert duration(seconds) == shown


def test_a_missing_score_is_a_dash() -> None:
    assert (number(None), number(float("nan")), number(0.0)) == ("-", "-", "0.000")


def test_the_ladder_fits_one_line() -> None:
    assert event_line(LADDER) == (
        "step size 4 (largest reliable); reliability/mean fitness by sigma: 1: -/0.200, "
        "4: 0.83/0.200; 100 tokens, 9 s"
    )


@pytest.mark.parametrize("is_terminal", [False, True])
def test_the_gates_measurements_fit_one_line(is_terminal: bool) -> None:
    console = console_of(width=300, is_terminal=is_terminal)
    with LiveView(console) as view:
        view.on_event(GATE)
    assert (
        "engines agree with plain transformers: base within 0.042 nats, warm start 0.050, zeros "
        "0.000; random candidates off by 4 % and 19 % of their effect"
    ) in text_of(console)


def test_an_agreement_that_was_remembered_is_said_to_be_from_before() -> None:
    line = event_line(GATE.model_copy(update={"cached": True}))
    assert line == "engines agreed with plain transformers on these bases before"


def test_a_step_of_a_training_shows_its_gradient_and_not_a_search():
    line = event_line(STEP)
    assert "grad norm 0.457  train 12.3 s" in line
    assert "sigma" not in line
    console = console_of(is_terminal=True)
    with LiveView(console) as view:
        view.on_event(STEP)
    text = text_of(console)
    assert "grad norm" in text
    assert "12.3" in text
    assert "reliab." not in text
