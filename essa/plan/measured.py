"""The speed of real engines, fitted to the timeline of a run.

An engine's time for its items is linear in the three numbers of its speed, whose coefficients are
its steps, tokens and prompts. Tokens and prompts are counted; steps follow from the order of the
items alone, as the composition of a batch does not depend on the duration of a step.
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
"""Function from an item's total tokens and number of answers to the tokens of each answer."""


class EngineWork(NamedTuple):
    """Work of one engine in one evaluation: items in the order in which the engine got them."""

    items: tuple[Item, ...]
    seconds: float
    evaluation: int = 0
    """Number of the evaluation; engines with the same number worked in parallel."""


class MeasuredEngines(NamedTuple):
    """Speed of a run's engines, fitted to its timeline.

    Attributes:
        slowness: measured over fitted seconds, for every engine and evaluation; relative to their
            mean if several worked in parallel, as a machine's drift affects all of them.
        lengths: answer lengths in tokens.
        residual: root mean square of (measured seconds / fitted seconds - 1).
        capacity: number of sequences that an engine decoded together.
    """

    speed: EngineSpeed
    slowness: tuple[float, ...]
    lengths: tuple[int, ...]
    residual: float
    capacity: int


def split_evenly(tokens: int, rows: int) -> Item:
    """Split an item's tokens as evenly as possible, with at least one token per answer."""
    each, more = divmod(max(tokens, rows), rows)
    return tuple(each + (row < more) for row in range(rows))


def split_by(spread: float, most: int) -> Split:
    """Return a split into answers of realistic lengths: quantiles of a gamma distribution.

    A timeline has only the total tokens of an item, but an item ends with its longest answer.

    Args:
        spread: standard deviation over mean of the lengths.
        most: length of the longest answer; an item whose mean is not below it is split evenly.
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
        # A few quantiles miss the tail, and so some of the tokens; rescale.
        found = np.clip(np.rint(found * tokens / found.sum()), 1, most).astype(int)
        # The order within an item is unknown; a fixed random one keeps fits reproducible.
        return tuple(np.random.default_rng(rows).permutation(found).tolist())

    return split


def engine_works(
    timeline: Sequence[Work], prompts: dict[str, int], split: Split = split_evenly
) -> list[EngineWork]:
    """Return the work of every engine in every evaluation of a population.

    Args:
        prompts: number of sequences per candidate, by kind of evaluation; evaluations of other
            kinds, and those with rollouts of the base, are left out.
        split: assumed split of an item's tokens into answers.
    """
    found: list[EngineWork] = []
    for number, work in enumerate(timeline):
        # Spans in which the base scores answers without generating are no rollouts.
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
    """Fit an engine's speed to the work of engines.

    Args:
        works: work of engines, as from `engine_works`.
        capacity: number of sequences that an engine decoded together.
    Raises:
        DataError: there is no work to fit.
    """
    if not works:
        raise DataError(
            "the timeline has no evaluation of a population; use the folder of a run that has "
            "finished a generation"
        )
    counts = np.array([_counts(work.items, capacity) for work in works])
    seconds = np.array([work.seconds for work in works])
    # Fit relative errors, so that short evaluations weigh as much as long ones.
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
    """Return the sequences of an item: a candidate's are cut into equal items, except the last."""
    pieces = sum(other.candidates == span.candidates for other in spans)
    return max(1, round(prompts / pieces))


def _counts(items: Sequence[Item], capacity: int) -> tuple[float, float, float]:
    """Return the numbers of steps, tokens and prompts of an engine's items."""
    counting = Fleet(EngineSpeed(1.0, 0.0, 0.0), capacity)
    steps = run_items(counting, 1, items, np.random.default_rng(0)).seconds
    return steps, float(sum(map(sum, items))), float(sum(map(len, items)))


def _not_negative(matrix: FloatArray, target: FloatArray) -> FloatArray:
    """Solve non-negative least squares, shape (columns,), by trying all of the few subsets."""
    columns = matrix.shape[1]
    best, best_error = np.zeros(columns), np.inf
    for size in range(1, columns + 1):
        for chosen in combinations(range(columns), size):
            part = matrix[:, chosen]
            found = np.linalg.lstsq(part, target, rcond=None)[0]
            error = float(np.sum((part @ found - target) ** 2))
            # One more nonzero number must pay off, or noise decides between equivalent solutions.
            if (found > 0).all() and error < best_error * (1 - 1e-6) - 1e-12:
                best, best_error = np.zeros(columns), error
                best[list(chosen)] = found
    return best
