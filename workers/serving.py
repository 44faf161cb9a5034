"""Score the result on the serving base, if the search ran on a different one."""

from __future__ import annotations

from typing import Any

import numpy as np

from essa.coordinator.run_events import ALIGNED, precision_gap, test_summaries
from essa.errors import ClusterError, EvaluationError
from essa.events import ResultEvent, ServingScores, WarningEvent
from essa.spec import AlignmentJobSpec, EngineSpec
from essa.types import PopulationScores, describe_failures
from workers.cluster.placement import Node
from workers.job.engine_plan import EnginePlan
from workers.methods.base import Found, Method


def serving_engine(spec: AlignmentJobSpec) -> EngineSpec:
    """Return the search's engine with the serving base."""
    if spec.serving_precision == spec.engine.precision:
        return spec.engine
    return spec.engine.model_copy(
        update={"precision": spec.serving_precision, "quantization": None}
    )


def with_serving_scores(
    method: Method[Any],
    found: Found,
    plan: EnginePlan,
    nodes: list[Node],
) -> ResultEvent:
    """Score the result's vector on the serving base too, if it differs from that of the search.

    Emits a warning if the two scores differ by more than the interval, or if scoring failed; the
    result of the search stands either way.

    Args:
        method: method of the job.
        found: outcome of the search and its codec.
        plan: plan of `serving_engine`.
        nodes: nodes of the cluster.
    Raises:
        JobCancelledError: the user cancelled.
    """
    job, outcome = method.context.job, found.outcome
    result = outcome.result
    searched, served = job.spec.engine.precision, job.spec.serving_precision

    def warn(code: str, message: str) -> None:
        job.sink.emit(WarningEvent(code=code, message=message))

    if served == searched:
        return result
    try:
        scores = _score_when_served(method, found, plan, nodes)
    except (EvaluationError, ClusterError) as error:
        # The adapter exists and has scores on the base of the search.
        warn("serving_not_scored", f"the result could not be scored on the {served} base: {error}")
        return result
    objective = method.objective(found.codec.dimension)
    serving = ServingScores(
        precision=served, test=test_summaries(scores, objective, outcome.vector)
    )
    gap = precision_gap(searched, result.test["aligned"], served, serving.test["aligned"])
    if gap is not None:
        warn("precision_gap", gap)
    return result.model_copy(update={"serving": serving, "tokens": result.tokens + scores.tokens})


def _score_when_served(
    method: Method[Any], found: Found, plan: EnginePlan, nodes: list[Node]
) -> PopulationScores:
    context, vector = method.context, found.outcome.vector
    with context.engines(plan, nodes, found.codec.layout) as pool:
        what = f"test on the {plan.spec.precision} base"
        context.job.stage("test", what)
        scores = method.evaluator(pool, found.codec).evaluate(
            np.stack([np.zeros_like(vector), vector]),
            context.data.test,
            with_base=True,
            label=what,
        )
    if np.isnan(scores.rewards_N_P[ALIGNED]).all():
        raise EvaluationError(
            f"not one of {len(context.data.test)} test prompts has a score. Failures: "
            + describe_failures(scores.failures)
        )
    return scores
