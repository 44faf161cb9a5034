"""Format each event as one line of plain text."""

from __future__ import annotations

import math
from functools import singledispatch

from pydantic import BaseModel

from essa.events import (
    ConstraintStatus,
    ErrorEvent,
    FormatEvent,
    GateEvent,
    GenerationEvent,
    LadderEvent,
    ResultEvent,
    StageEvent,
    StepEvent,
    ValidationEvent,
    WarmStartEvent,
    WarningEvent,
)


def number(value: float | None, digits: int = 3) -> str:
    """Format a score; a dash for None or NaN."""
    if value is None or math.isnan(value):
        return "-"
    return f"{value:.{digits}f}"


def duration(seconds: float | None) -> str:
    """Format seconds as `42 s`, `3 min 05 s` or `2 h 07 min`."""
    if seconds is None:
        return "-"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


@singledispatch
def event_line(event: BaseModel) -> str:
    """Format an event as one line; empty for kinds that have their own display."""
    return event.model_dump_json()


@event_line.register
def _(event: StageEvent) -> str:
    return f"[{event.stage}] {stage_text(event)}".rstrip()


def stage_text(event: StageEvent, since_s: float | None = None) -> str:
    """Describe the progress of a stage, such as `12/40 training steps, 35 s left`.

    Args:
        since_s: seconds since the last event.
    """
    parts = [] if event.total is None else [f"{event.done or 0}/{event.total}"]
    if event.message:
        parts.append(event.message)
    text = " ".join(parts)
    notes = [] if event.eta_s is None else [f"{duration(event.eta_s)} left"]
    if since_s is not None:
        notes.append(f"for {duration(since_s)}")
    return ", ".join([text, *notes] if text else notes)


@event_line.register
def _(event: FormatEvent) -> str:
    emulated = [name for name, status in event.formats.items() if status == "emulated"]
    because = f" ({', '.join(emulated)} only emulated here)" if emulated else ""
    return (
        f"computing with {event.precision} weights and {event.activations} activations, training "
        f"in {event.training}{because}"
    )


@event_line.register
def _(event: GateEvent) -> str:
    if event.cached:
        return "engines agreed with plain transformers on these bases before"
    shares = " and ".join(f"{100 * share:.0f} %" for share in event.candidates)
    return (
        f"engines agree with plain transformers: base within {number(event.base_nats)} nats, warm "
        f"start {number(event.warm_start_nats)}, zeros {number(event.zeroed_nats)}; random "
        f"candidates off by {shares} of their effect"
    )


@event_line.register
def _(event: WarmStartEvent) -> str:
    made = f"made in {duration(event.seconds)}" if event.samples or event.seconds > 1 else "read"
    return f"warm start ({event.kind}) {made}"


@event_line.register
def _(event: LadderEvent) -> str:
    tried = ", ".join(
        f"{rung.sigma:g}: {number(rung.reliability, 2)}/{number(rung.mean_fitness)}"
        for rung in event.rungs
    )
    return (
        f"step size {event.chosen_sigma:g} ({event.rule}); reliability/mean fitness by sigma: "
        f"{tried}; {event.tokens} tokens, {duration(event.seconds)}"
    )


@event_line.register
def _(event: GenerationEvent | StepEvent) -> str:
    missing = f"  missing {event.missing_scores}" if event.missing_scores else ""
    return (
        f"generation {event.generation}  best {number(event.best)}  mean {number(event.mean)}  "
        f"worst {number(event.worst)}  {_movement(event)}  {event.tokens_per_s:.0f} tok/s  "
        f"{duration(event.elapsed_s)}  ETA {duration(event.eta_s)}{missing}"
    )


def _movement(event: GenerationEvent | StepEvent) -> str:
    """Format the numbers that show whether a search or a training makes progress."""
    if isinstance(event, StepEvent):
        return f"grad norm {number(event.training.get('grad_norm'))}  train {event.train_s:.1f} s"
    return f"sigma {event.sigma:.3g}  reliability {number(event.reliability, 2)}"


@event_line.register
def _(event: ValidationEvent) -> str:
    low, high = event.ci95
    best = "  (best so far)" if event.is_best else ""
    return (
        f"validation after generation {event.generation}: {number(event.score)} "
        f"[{number(low)}, {number(high)}]{best}{_constraints(event)}"
    )


def _constraints(event: ValidationEvent) -> str:
    """Format which constraints are violated, and by how much; empty without constraints."""
    if event.is_feasible is None:
        return ""
    broken = [constraint_text(one) for one in event.constraints if not one.is_held]
    return f"  breaks {', '.join(broken)}" if broken else "  constraints held"


def constraint_text(status: ConstraintStatus) -> str:
    """Format a constraint's value and threshold, such as `topicality 0.620 >= 0.8`."""
    return f"{status.component} {number(status.value)} {status.direction} {status.threshold:g}"


@event_line.register
def _(event: WarningEvent) -> str:
    return f"warning ({event.code}): {event.message}"


@event_line.register
def _(event: ErrorEvent) -> str:
    return f"error ({event.code}): {event.message}"


@event_line.register
def _(event: ResultEvent) -> str:
    return ""
