"""Choose the initial step size by trying a ladder of them on the real reward.

Greedy decoding turns any tiny change of the weights into text noise that does not shrink with
sigma. Below some step the differences in fitness are that noise and a search cannot move; far above
it the model breaks. Each rung draws candidates around the warm start, in the same directions on
every rung, and measures whether their differences are real (split-half reliability) and what the
step costs on average (mean fitness). Of the steps that cost next to nothing the largest is taken:
its differences are at least as real as those of a smaller one, and a step too small is the usual
reason why a search does not move. Reliability itself does not choose: over a dozen candidates it is
off by 0.3 either way, and once put a search on a step of pure noise.

A rung costs most of a generation, so the probe begins in the middle and tries only what may still
be chosen.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from essa.errors import NonFiniteFitnessError
from essa.events import LadderEvent, LadderRung
from essa.objective.fitness import split_half_reliability
from essa.objective.objective import Objective
from essa.ports import Evaluator
from essa.spec.search import LadderSpec
from essa.types import FloatArray, Row

DEFAULT_SIGMAS = {
    "factors": (0.1, 0.3, 1.0, 3.0, 6.0, 12.0, 24.0),
    "product": (0.1, 0.3, 1.0, 4.0, 10.0, 20.0, 40.0),
    "weights": (0.03, 0.1, 0.3, 1.0, 3.0),
}
"""Ladders per search target, in its units."""

MAX_DROP = 1.0
"""How far a rung's mean fitness may lie under the best rung's, in standard deviations of its own
candidates. A step that costs more spends its selection on repairing what it broke."""

RULE = (
    "largest step size whose mean fitness is at most "
    f"{MAX_DROP:g} standard deviation of its candidates under the best mean of any rung"
)


@dataclass(frozen=True)
class LadderOutcome:
    """The step size, its split-half reliability, and the event that explains the choice."""

    sigma: float
    reliability: float | None
    event: LadderEvent


def probe_ladder(
    evaluator: Evaluator,
    objective: Objective,
    rows: Sequence[Row],
    *,
    dimension: int,
    spec: LadderSpec,
    target: str,
    seed: int,
    on_rung: Callable[[int, int], None],
) -> LadderOutcome:
    """Try rungs until no other can be chosen, then choose.

    Args:
        rows: training prompts, the same on every rung.
        dimension: D.
        target: `factors` or `product`; picks the default ladder.
        on_rung: called with (rungs done, rungs of the ladder).
    Raises:
        NonFiniteFitnessError: no rung had enough scores.
    """
    sigmas = spec.sigmas or DEFAULT_SIGMAS[target]
    rng = np.random.default_rng([seed, 0x1ADDE])
    directions = rng.standard_normal((spec.candidates, dimension))
    started = time.monotonic()
    rungs: list[LadderRung] = []
    tokens, start_fitness = 0, np.nan
    tried: list[int] = []
    index: int | None = first_rung(sigmas)
    while index is not None:
        sigma = sigmas[index]
        on_rung(len(tried), len(sigmas))
        # The first one carries the warm start along, for comparison.
        vectors = sigma * directions
        if not tried:
            vectors = np.vstack([np.zeros(dimension), vectors])
        scores = evaluator.evaluate(vectors, rows, label=f"step size {sigma:g}")
        tokens += scores.tokens
        columns = objective.columns(scores, vectors)
        if not tried:
            start_fitness = float(objective.probe(objective.means(columns[:1]))[0])
            columns = columns[1:]
        tried.append(index)
        rung = _rung(sigma, columns, objective)
        if rung is not None:
            rungs.append(rung)
        index = next_rung(len(sigmas), tried, rungs, start_fitness)
    rungs.sort(key=lambda rung: rung.sigma)
    if not rungs:
        raise NonFiniteFitnessError(
            "no step size of the ladder had two candidates with a score; look at the reward"
        )
    chosen = choose_rung(rungs)
    event = LadderEvent(
        rungs=rungs,
        start_fitness=start_fitness,
        chosen_sigma=chosen.sigma,
        rule=RULE,
        tokens=tokens,
        seconds=time.monotonic() - started,
    )
    return LadderOutcome(chosen.sigma, chosen.reliability, event)


def _rung(sigma: float, columns_N_P_J: FloatArray, objective: Objective) -> LadderRung | None:
    fitness = objective.probe(objective.means(columns_N_P_J))
    finite = fitness[np.isfinite(fitness)]
    if len(finite) < 2:
        return None
    return LadderRung(
        sigma=sigma,
        reliability=split_half_reliability(
            columns_N_P_J, fitness=objective.probe, max_missing_frac=objective.max_missing_frac
        ),
        mean_fitness=float(finite.mean()),
        best_fitness=float(finite.max()),
        fitness_std=float(finite.std(ddof=1)),
    )


def first_rung(sigmas: Sequence[float]) -> int:
    """Where the probe begins: a third of the way up, under most of what is ever chosen. Pure."""
    return (len(sigmas) - 1) // 3


def next_rung(
    count: int, tried: Sequence[int], rungs: Sequence[LadderRung], start_fitness: float
) -> int | None:
    """The rung to try next; None where no other can be chosen. Pure.

    Up, as long as the highest tried is the one that `RULE` takes. Down before that, where the
    lowest is the one and costs as much against the warm start as `RULE` forbids: then a smaller
    step may show it to be too large.

    Args:
        count: rungs of the ladder.
        tried: without gaps, those without enough scores included.
        rungs: those tried that have scores.
        start_fitness: of the warm start; one candidate, so it alone rejects no rung.
    """
    above = max(tried) + 1 if max(tried) + 1 < count else None
    below = min(tried) - 1 if min(tried) > 0 else None
    if not rungs:
        return below if above is None else above
    chosen = choose_rung(rungs)
    is_lowest = chosen.sigma == min(rung.sigma for rung in rungs)
    is_highest = chosen.sigma == max(rung.sigma for rung in rungs)
    drop = start_fitness - chosen.mean_fitness
    if is_lowest and below is not None and drop > MAX_DROP * chosen.fitness_std:
        return below
    return above if is_highest else None


def choose_rung(rungs: Sequence[LadderRung]) -> LadderRung:
    """The rung that `RULE` names. Pure."""
    best = max(rung.mean_fitness for rung in rungs)
    cheap = [rung for rung in rungs if best - rung.mean_fitness <= MAX_DROP * rung.fitness_std]
    return max(cheap, key=lambda rung: rung.sigma)
