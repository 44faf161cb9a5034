"""Best validation score so far against a run's resource use; mean and band over seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from essa.comparison.history import RunHistory


@dataclass(frozen=True)
class Steps:
    """A step function, which holds its value until the next point.

    Attributes:
        x: points at which the value changes, ascending.
        y: best scores from each of these points on.
        end: end of the curve; infinite for a finished run, whose best score stays.
    """

    x: tuple[float, ...]
    y: tuple[float, ...]
    end: float


@dataclass(frozen=True)
class Band:
    """Mean, lowest and highest of the curves of an arm's seeds, at every `x` where one changes."""

    x: tuple[float, ...] = ()
    mean: tuple[float, ...] = ()
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()


def best_so_far(run: RunHistory, axis: str) -> Steps:
    """Return the curve of a run; only scores that satisfy every constraint count."""
    xs: list[float] = []
    ys: list[float] = []
    end = -math.inf
    for point in run.points:
        x = getattr(point.spent, axis)
        if x is None:
            continue
        end = max(end, x)
        if not point.is_feasible or (ys and point.score <= ys[-1]):
            continue
        xs.append(x)
        ys.append(point.score)
    return Steps(tuple(xs), tuple(ys), math.inf if run.result is not None else end)


def band(runs: Sequence[RunHistory], axis: str) -> Band:
    """Return mean, lowest and highest over the runs that have a curve.

    The band covers the `x` at which all curves are known: from the latest first point to the
    earliest end.
    """
    curves = [steps for steps in (best_so_far(run, axis) for run in runs) if steps.x]
    if not curves:
        return Band()
    start = max(steps.x[0] for steps in curves)
    end = min(steps.end for steps in curves)
    last = max((_last_x(run, axis) for run in runs), default=start)
    places = {x for steps in curves for x in steps.x if start <= x <= end}
    places |= {x for x in (start, min(end, last)) if start <= x <= end}
    if not places:
        return Band()
    xs = sorted(places)
    values_S_X = np.array([[value_at(steps, x) for x in xs] for steps in curves])
    return Band(
        x=tuple(xs),
        mean=tuple(values_S_X.mean(axis=0).tolist()),
        low=tuple(values_S_X.min(axis=0).tolist()),
        high=tuple(values_S_X.max(axis=0).tolist()),
    )


def value_at(steps: Steps, x: float) -> float:
    """Return the best score reached with a use of `x`; NaN before the first score."""
    place = int(np.searchsorted(steps.x, x, side="right")) - 1
    return steps.y[place] if place >= 0 else math.nan


def _last_x(run: RunHistory, axis: str) -> float:
    known = [getattr(point.spent, axis) for point in run.points]
    return max((x for x in known if x is not None), default=-math.inf)
