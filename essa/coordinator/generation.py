"""Roll one generation out: its candidates, and the mean where the objective wants it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from essa.errors import NonFiniteFitnessError
from essa.objective.fitness import informative_frac, split_half_reliability
from essa.objective.objective import Objective
from essa.ports import Evaluator
from essa.search.base import BudgetShare, SearchStrategy, StepReport
from essa.types import FloatArray, PopulationScores, Row, describe_failures


@dataclass(frozen=True)
class Generation:
    """What the candidates of one generation reached.

    Attributes:
        means_N_J: of the candidates' columns, over prompts.
        mean_J: of the distribution's own mean; None where it was not rolled out.
        fitness: shape (N,), NaN where a candidate is missing.
        reliability: split-half, of the fitness; None where candidates have under 4 prompts.
        informative_frac: share of prompts on which candidates differ at all.
    """

    scores: PopulationScores
    means_N_J: FloatArray
    mean_J: FloatArray | None
    fitness: FloatArray
    reliability: float | None
    informative_frac: float


def roll_out(
    evaluator: Evaluator,
    objective: Objective,
    search: SearchStrategy,
    batch: Sequence[Row],
    number: int,
    groups: int = 1,
) -> Generation:
    """Ask, evaluate, and work out fitness.

    Args:
        batch: training prompts, cut into the parts of the groups.
        number: of the generation, for progress.
        groups: of candidates that share prompts.
    """
    asked, label = search.ask(), f"generation {number}"
    count = len(asked)
    # On shared prompts the mean is one candidate more.
    has_mean = objective.measures_mean and groups == 1
    vectors = np.vstack([asked, search.mean]) if has_mean else asked
    scores = evaluator.evaluate(vectors, batch, groups=groups, label=label)
    columns = objective.columns(scores, vectors)
    means = objective.means(columns[:count], groups)
    mean_J = objective.means(columns[count:])[0] if has_mean else None
    if objective.measures_mean and not has_mean:
        mean = search.mean[None]
        of_mean = evaluator.evaluate(mean, batch, label=f"{label}, its mean")
        mean_J = objective.means(objective.columns(of_mean, mean))[0]
        scores = scores.with_costs_of(of_mean)
    objective.observe(means, mean_J)
    return Generation(
        scores=scores.first(count),
        means_N_J=means,
        mean_J=mean_J,
        fitness=objective.fitness(means),
        reliability=split_half_reliability(
            columns[:count],
            groups=groups,
            fitness=objective.fitness,
            max_missing_frac=objective.max_missing_frac,
        ),
        informative_frac=informative_frac(columns[:count], groups),
    )


def tell(search: SearchStrategy, found: Generation, budget: BudgetShare) -> StepReport:
    """Let the search move.

    Raises:
        NonFiniteFitnessError: too few candidates have a fitness; it names the failures.
    """
    try:
        return search.tell(found.fitness, budget)
    except NonFiniteFitnessError as error:
        failures = describe_failures(found.scores.failures)
        raise NonFiniteFitnessError(
            f"{error.message}. Failures: {failures}", **error.detail
        ) from error
