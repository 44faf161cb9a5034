"""Roll one generation out: its candidates, and the mean where the objective wants it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from essa.errors import NonFiniteFitnessError
from essa.objective.fitness import split_half_reliability
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
        reliability: split-half, of the fitness.
    """

    scores: PopulationScores
    means_N_J: FloatArray
    mean_J: FloatArray | None
    fitness: FloatArray
    reliability: float | None


def roll_out(
    evaluator: Evaluator,
    objective: Objective,
    search: SearchStrategy,
    batch: Sequence[Row],
    number: int,
) -> Generation:
    """Ask, evaluate, and work out fitness.

    Args:
        batch: training prompts, shared by all.
        number: of the generation, for progress.
    """
    asked = search.ask()
    count = len(asked)
    vectors = np.vstack([asked, search.mean]) if objective.measures_mean else asked
    scores = evaluator.evaluate(vectors, batch, label=f"generation {number}")
    columns = objective.columns(scores, vectors)
    means = objective.means(columns[:count])
    mean_J = objective.means(columns[count:])[0] if objective.measures_mean else None
    objective.observe(means, mean_J)
    return Generation(
        scores=scores.first(count),
        means_N_J=means,
        mean_J=mean_J,
        fitness=objective.fitness(means),
        reliability=split_half_reliability(
            columns[:count],
            fitness=objective.fitness,
            max_missing_frac=objective.max_missing_frac,
        ),
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
