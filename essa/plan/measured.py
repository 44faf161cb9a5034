"""The speed of real engines, fitted to the timeline of a run.

An engine's time for its items is linear in the three numbers of its speed: steps, tokens and
prompts. Tokens and prompts are counted; steps follow from the order of the items alone, as one
engine's batch does not depend on how long a step takes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from essa.errors import DataError
from essa.plan.engine_speed import EngineSpeed
from essa.plan.made_up import made_up_lengths
from essa.plan.simulation import Fleet, Item, run_items
from essa.records.timeline import Work
from essa.types import FloatArray, WorkSpan

Split = Callable[[int, int], Item]
"""From the tokens of an item and its number of answers to the tokens of each."""


class EngineWork(NamedTuple):
    """What one engine did in one evaluation: items in the order in which it was given them."""

    items: tuple[Item, ...]
    seconds: float
    evaluation: int = 0
    """Engines of the same one worked side by side."""


class MeasuredEngines(NamedTuple):
    """What a run tells about its engines.

    Attributes:
        slowness: measured seconds over fitted ones, of every engine and evaluation; where several
            worked side by side, against their mean, as a machine's drift meets them all alike.
        lengths: tokens of answers.
        residual: root mean square of measured seconds over fitted ones - 1.
        capacity: sequences that an engine decoded together.
    """

    speed: EngineSpeed
    slowness: tuple[float, ...]
    lengths: tuple[int, ...]
    residual: float
    capacity: int


def split_evenly(tokens: int, rows: int) -> Item:
    """Answers as equal as they can be, one token each at least."""
    each, more = divmod(max(tokens, rows), rows)
    return tuple(each + (row < more) for row in range(rows))


def split_by(spread: float, most: int) -> Split:
    """A split into answers as uneven as answers are: quantiles of a gamma distribution.

    A timeline has the tokens of whole items only, but an item ends with its longest answer.

    Args:
        spread: standard deviation over mean.
        most: longest answer; an item with answers longer than that on average is split evenly.
    """

    @lru_cache
    def sample(mean: int) -> NDArray[np.int_]:
        return np.array(made_up_lengths(mean, spread, most))

    def split(tokens: int, rows: int) -> Item:
        mean = round(tokens / rows)
        if spread == 0 or not 1 < mean < most:
            return split_evenly(tokens, rows)
        middles = (np.arange(rows) + 0.5) / rows
        found = np.quantile(sample(mean), middles)
        # A few quantiles miss the tail, and so some of the tokens.
        found = np.clip(np.rint(found * tokens / found.sum()), 1, most).astype(int)
        # The order within an item says nothing; the same for all, so that fits can be repeated.
        return tuple(np.random.default_rng(rows).permutation(found).tolist())

    return split


def engine_works(
    timeline: Sequence[Work], prompts: dict[str, int], split: Split = split_evenly
) -> list[EngineWork]:
    """What every engine did in every evaluation of a population.

    Args:
        prompts: sequences of a candidate, by kind of evaluation; evaluations of other kinds, and
            those with rollouts of the base, are left out.
        split: how long the answers of an item are taken to be.
    """
    found: list[EngineWork] = []
    for number, work in enumerate(timeline):
        # The base scores answers without generating; that is no rollout.
        spans = [span for span in work.spans if span.candidates or span.tokens]
        if work.kind not in prompts or not all(len(span.candidates) == 1 for span in spans):
            continue
        for engine in sorted({span.engine for span in spans}):
            own = sorted(
                (span for span in spans if span.engine == engine),
                key=lambda span: span.started_s,
            )
            rows = [_rows(span, spans, prompts[work.kind]) for span in own]
            items = tuple(split(span.tokens, count) for span, count in zip(own, rows, strict=True))
            seconds = max(span.ended_s for span in own) - own[0].started_s
            found.append(EngineWork(items, seconds, number))
    return [work for work in found if work.seconds > 0]


def fit_speed(works: Sequence[EngineWork], capacity: int) -> MeasuredEngines:
    """Fit an engine's speed to what engines did.

    Args:
        capacity: sequences that an engine decoded together.
    Raises:
        DataError: there is nothing to fit.
    """
    if not works:
        raise DataError(
            "the timeline has no evaluation of a population; use the folder of a run that has "
            "finished a generation"
        )
    counts = np.array([_counts(work.items, capacity) for work in works])
    seconds = np.array([work.seconds for work in works])
    # Relative errors: a short evaluation says as much as a long one.
    numbers = _not_negative(counts / seconds[:, None], np.ones(len(works)))
    ratios = seconds / (counts @ numbers)
    return MeasuredEngines(
        speed=EngineSpeed(*map(float, numbers)),
        slowness=_among_each_other(ratios, [work.evaluation for work in works]),
        lengths=tuple(length for work in works for item in work.items for length in item),
        residual=float(np.sqrt(np.mean((ratios - 1) ** 2))),
        capacity=capacity,
    )


def _among_each_other(ratios: FloatArray, evaluations: Sequence[int]) -> tuple[float, ...]:
    numbers = np.array(evaluations)
    own = ratios.copy()
    for number in set(evaluations):
        side_by_side = numbers == number
        if side_by_side.sum() > 1:
            own[side_by_side] /= ratios[side_by_side].mean()
    return tuple(own.tolist())


def _rows(span: WorkSpan, spans: Sequence[WorkSpan], prompts: int) -> int:
    """Sequences of an item: a candidate's are cut into equal items, the last one apart."""
    pieces = sum(other.candidates == span.candidates for other in spans)
    return max(1, round(prompts / pieces))


def _counts(items: Sequence[Item], capacity: int) -> tuple[float, float, float]:
    """Steps, tokens and prompts."""
    counting = Fleet(EngineSpeed(1.0, 0.0, 0.0), capacity)
    steps = run_items(counting, 1, items, np.random.default_rng(0)).seconds
    return steps, float(sum(map(sum, items))), float(sum(map(len, items)))


def _not_negative(matrix: FloatArray, target: FloatArray) -> FloatArray:
    """Least squares with numbers of 0 at least: the best of all subsets, of which there are few."""
    columns = matrix.shape[1]
    best, best_error = np.zeros(columns), np.inf
    for size in range(1, columns + 1):
        for chosen in combinations(range(columns), size):
            part = matrix[:, chosen]
            found = np.linalg.lstsq(part, target, rcond=None)[0]
            error = float(np.sum((part @ found - target) ** 2))
            # A number more must be worth it, or noise decides among those that say the same.
            if (found > 0).all() and error < best_error * (1 - 1e-6) - 1e-12:
                best, best_error = np.zeros(columns), error
                best[list(chosen)] = found
    return best
