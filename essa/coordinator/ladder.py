"""Choose the initial step size by trying a ladder of them on the real reward.

Greedy decoding turns any tiny change of the weights into text noise that does not shrink with
sigma. Below some step the differences in fitness are that noise and a search cannot move; far above
it the model breaks. Each rung draws candidates around the warm start, in the same directions on
every rung, and measures whether their differences are real (split-half reliability) and what the
step costs on average (mean fitness). Of the steps that cost next to nothing the largest is taken:
its differences are at least as real as those of a smaller one, and a step too small is the usual
reason why a search does not move. Reliability itself does not choose: over a dozen candidates it is
off by 0.3 either way, and once put a search on a step of pure noise.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from essa.coordinator.fitness import split_half_reliability
from essa.coordinator.objective import Objective
from essa.errors import NonFiniteFitnessError
from essa.events import LadderEvent, LadderRung
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
    """Climb the ladder until fitness has clearly collapsed, then choose.

    Args:
        rows: training prompts, the same on every rung.
        dimension: D.
        target: `factors` or `product`; picks the default ladder.
        on_rung: called with (rungs done, rungs in all).
    Raises:
        NonFiniteFitnessError: no rung had enough scores.
    """
    sigmas = spec.sigmas or DEFAULT_SIGMAS[target]
    rng = np.random.default_rng([seed, 0x1ADDE])
    directions = rng.standard_normal((spec.candidates, dimension))
    started = time.monotonic()
    rungs: list[LadderRung] = []
    tokens, start_fitness = 0, np.nan
    for index, sigma in enumerate(sigmas):
        on_rung(index, len(sigmas))
        # The first rung carries the warm start along, for comparison.
        vectors = sigma * directions
        if index == 0:
            vectors = np.vstack([np.zeros(dimension), vectors])
        scores = evaluator.evaluate(vectors, rows, label=f"step size {sigma:g}")
        tokens += scores.tokens
        columns = objective.columns(scores, vectors)
        if index == 0:
            start_fitness = float(objective.probe(objective.means(columns[:1]))[0])
            columns = columns[1:]
        rung = _rung(sigma, columns, objective)
        if rung is not None:
            rungs.append(rung)
        if rungs and _has_collapsed(rungs[-1], rungs):
            break
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


def _has_collapsed(rung: LadderRung, rungs: Sequence[LadderRung]) -> bool:
    """True if the rung's fitness lies clearly, by both standard deviations, under another rung's.

    Means, not predictions, are compared: a rung of noise now and then looks reliable by luck, but
    the mean over a dozen candidates hardly moves.
    """
    best = max(other.mean_fitness - other.fitness_std for other in rungs)
    return rung.mean_fitness + rung.fitness_std < best


def choose_rung(rungs: Sequence[LadderRung]) -> LadderRung:
    """The rung that `RULE` names. Pure."""
    best = max(rung.mean_fitness for rung in rungs)
    cheap = [rung for rung in rungs if best - rung.mean_fitness <= MAX_DROP * rung.fitness_std]
    return max(cheap, key=lambda rung: rung.sigma)
