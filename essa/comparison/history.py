"""One run of a comparison: what it reached and what it had used by then, from its events."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from essa.events import (
    Event,
    ResultEvent,
    RoundEvent,
    ValidationEvent,
    WarmStartEvent,
)

AXES = ("wall_s", "device_s", "tokens", "samples")
"""What a score can be held against."""


class Spent(NamedTuple):
    """What a run has used; None where its events do not tell."""

    wall_s: float | None = None
    device_s: float | None = None
    tokens: float | None = None
    samples: float | None = None

    def without(self, other: Spent) -> Spent:
        """The rest, None where either is unknown."""
        pairs = zip(self, other, strict=True)
        return Spent(*(None if a is None or b is None else max(0.0, a - b) for a, b in pairs))


NOTHING = Spent(0.0, 0.0, 0.0, 0.0)


class Validated(NamedTuple):
    """One validation. `spent` is without the warm start."""

    generation: int
    score: float
    is_feasible: bool
    spent: Spent


@dataclass(frozen=True)
class RunHistory:
    """A run as a comparison sees it.

    Attributes:
        warm_start: its share of time, tokens and samples; None where the run made none.
        points: validations in order, those without a score left out.
        generations: the last report of every generation or step, in order.
        total: what the whole run used so far, without the warm start.
        result: None before the end.
    """

    arm: str
    seed: int
    points: tuple[Validated, ...] = ()
    warm_start: Spent | None = None
    generations: tuple[RoundEvent, ...] = ()
    total: Spent = field(default_factory=Spent)
    result: ResultEvent | None = None

    @property
    def best(self) -> float | None:
        """Highest validation score among those that hold every constraint."""
        return max((point.score for point in self.points if point.is_feasible), default=None)


def read_history(arm: str, seed: int, events: Sequence[Event]) -> RunHistory:
    """Sort the events of a run.

    A job that was interrupted may report its last generation and validation again; the last report
    counts, as it does in the job itself.
    """
    validations: dict[int, ValidationEvent] = {}
    generations: dict[int, RoundEvent] = {}
    warm: WarmStartEvent | None = None
    result: ResultEvent | None = None
    for event in events:
        if isinstance(event, ValidationEvent):
            validations[event.generation] = event
        elif isinstance(event, RoundEvent):
            generations[event.generation] = event
        elif isinstance(event, WarmStartEvent):
            warm = event
        elif isinstance(event, ResultEvent):
            result = event
    ordered = [validations[number] for number in sorted(validations)]
    steps = tuple(generations[number] for number in sorted(generations))
    reports = [*ordered, *steps]
    warm_start = _warm_start(warm, reports)
    share = _share(warm_start, reports)
    return RunHistory(
        arm=arm,
        seed=seed,
        points=tuple(
            Validated(
                one.generation,
                one.score,
                one.is_feasible is not False,
                _spent(one).without(share),
            )
            for one in ordered
            if math.isfinite(one.score)
        ),
        warm_start=warm_start,
        generations=steps,
        total=_total(reports, result).without(share),
        result=result,
    )


def _warm_start(warm: WarmStartEvent | None, reports: Sequence[_Report]) -> Spent | None:
    """What making the warm start took; the devices are those that the run's events tell."""
    if warm is None or warm.kind == "adapter":
        return None
    devices = _devices(reports)
    held = None if devices is None else warm.seconds * devices
    return Spent(warm.seconds, held, float(warm.tokens), float(warm.samples))


def _share(warm_start: Spent | None, reports: Sequence[_Report]) -> Spent:
    """What of the warm start is in the run's own count."""
    if warm_start is None:
        return NOTHING
    # A job that was interrupted between its warm start and its first generation starts its clock
    # again, and reads tokens and samples from the finished warm start.
    first_s = min((one.elapsed_s for one in reports if one.elapsed_s is not None), default=None)
    if first_s is not None and first_s < (warm_start.wall_s or 0.0):
        return warm_start._replace(wall_s=0.0, device_s=0.0)
    return warm_start


def _devices(reports: Sequence[_Report]) -> float | None:
    """Devices that the engines hold."""
    for one in reports:
        if one.elapsed_s and one.device_s is not None:
            return one.device_s / one.elapsed_s
    return None


def _total(reports: Sequence[_Report], result: ResultEvent | None) -> Spent:
    """All that was used: the end of a job is told by its result, where that has more."""
    last = Spent(*(_most(getattr(_spent(one), axis) for one in reports) for axis in AXES))
    if result is None:
        return last
    # After an interruption the result's seconds are those of the last start only.
    wall_s = _most((last.wall_s, result.seconds))
    devices = _devices(reports)
    held = last.device_s if devices is None else devices * (wall_s or 0.0)
    return last._replace(wall_s=wall_s, device_s=held, tokens=_most((last.tokens, result.tokens)))


def _spent(event: _Report) -> Spent:
    given = (event.elapsed_s, event.device_s, event.tokens, event.samples)
    return Spent(*(None if value is None else float(value) for value in given))


def _most(values: Iterable[float | None]) -> float | None:
    return max((float(value) for value in values if value is not None), default=None)


_Report = ValidationEvent | RoundEvent
