"""History of one run of a comparison, from its events: scores and the resources used by then."""

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
"""Resources against which a score can be plotted."""


class Spent(NamedTuple):
    """Resources that a run has used; None if its events lack the number."""

    wall_s: float | None = None
    device_s: float | None = None
    tokens: float | None = None
    samples: float | None = None

    def without(self, other: Spent) -> Spent:
        """Return the difference; None if either number is unknown."""
        pairs = zip(self, other, strict=True)
        return Spent(*(None if a is None or b is None else max(0.0, a - b) for a, b in pairs))


NOTHING = Spent(0.0, 0.0, 0.0, 0.0)


class Validated(NamedTuple):
    """One validation. `spent` excludes the warm start."""

    generation: int
    score: float
    is_feasible: bool
    spent: Spent


@dataclass(frozen=True)
class RunHistory:
    """Validations, generations and resource use of one run.

    Attributes:
        points: validations that have a score, in order.
        warm_start: resources used to make the warm start; None if the run made none.
        generations: last report of every generation or step, in order.
        total: resources that the run has used so far, excluding the warm start.
        result: final event; None while the run goes on.
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
        """Return the highest validation score among those that satisfy every constraint."""
        return max((point.score for point in self.points if point.is_feasible), default=None)


def read_history(arm: str, seed: int, events: Sequence[Event]) -> RunHistory:
    """Build the history of a run from its events.

    A job that was interrupted may report its last generation and validation twice; the later
    report counts, as in the job itself.
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
    """Return the resources used to make the warm start; devices are read from the run's events."""
    if warm is None or warm.kind == "adapter":
        return None
    devices = _devices(reports)
    held = None if devices is None else warm.seconds * devices
    return Spent(warm.seconds, held, float(warm.tokens), float(warm.samples))


def _share(warm_start: Spent | None, reports: Sequence[_Report]) -> Spent:
    """Return the part of the warm start that is included in the run's own totals."""
    if warm_start is None:
        return NOTHING
    # A job that was interrupted between its warm start and its first generation restarts its clock,
    # but reads tokens and samples from the finished warm start.
    first_s = min((one.elapsed_s for one in reports if one.elapsed_s is not None), default=None)
    if first_s is not None and first_s < (warm_start.wall_s or 0.0):
        return warm_start._replace(wall_s=0.0, device_s=0.0)
    return warm_start


def _devices(reports: Sequence[_Report]) -> float | None:
    """Return the number of devices that the engines hold."""
    for one in reports:
        if one.elapsed_s and one.device_s is not None:
            return one.device_s / one.elapsed_s
    return None


def _total(reports: Sequence[_Report], result: ResultEvent | None) -> Spent:
    """Return the total resource use: the larger of the last report's and the result's numbers."""
    last = Spent(*(_most(getattr(_spent(one), axis) for one in reports) for axis in AXES))
    if result is None:
        return last
    # After an interruption, the result's seconds cover the last start only.
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
