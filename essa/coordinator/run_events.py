"""Events built from what the coordinator knows. Pure."""

from __future__ import annotations

from typing import Any

import numpy as np

from essa.coordinator.generation import Generation
from essa.coordinator.run import Run
from essa.coordinator.state import RunState
from essa.data import JobData
from essa.events import (
    CompletionSample,
    GenerationEvent,
    ResultEvent,
    ScoreSummary,
    StepEvent,
    ValidationEvent,
)
from essa.objective.fitness import bootstrap_interval, component_means
from essa.objective.objective import Objective, Verdict
from essa.ports import GroupRollouts, TrainerNews
from essa.records.rollouts import TESTED_MODELS, spread
from essa.search.base import SearchStrategy
from essa.types import FloatArray, PopulationScores

BASE, WARM_START, ALIGNED = range(len(TESTED_MODELS))
"""Rows of the final evaluation."""


def generation_event(
    run: Run,
    search: SearchStrategy,
    found: Generation,
    *,
    step_norm: float,
    generation_s: float,
    eta_s: float,
) -> GenerationEvent:
    """Summarise one generation, which took `generation_s` without validation."""
    finite = found.fitness[np.isfinite(found.fitness)]
    return GenerationEvent(
        fitness=_known(found.fitness),
        best=float(finite.max()),
        mean=float(finite.mean()),
        worst=float(finite.min()),
        sigma=search.sigma,
        axis_ratio=search.axis_ratio,
        step_norm=step_norm,
        distance=float(np.linalg.norm(search.mean)),
        reliability=found.reliability,
        informative_frac=found.informative_frac,
        missing_scores=int(np.isnan(found.scores.rewards_N_P).sum()),
        eta_s=eta_s,
        constraints=list(run.objective.status()),
        feasible_frac=run.objective.feasible_frac(found.means_N_J),
        **_spent(run, found.scores, generation_s),
    )


def step_event(
    run: Run,
    rollouts: GroupRollouts,
    news: TrainerNews,
    *,
    step_norm: float,
    step_s: float,
    eta_s: float,
) -> StepEvent:
    """Summarise one step of training, which took `step_s` without validation."""
    rewards, groups = rollouts.rewards_P_G, rollouts.scores.rewards_N_P[0]
    known = groups[np.isfinite(groups)]
    return StepEvent(
        fitness=_known(groups),
        best=float(known.max()),
        mean=float(np.nanmean(rewards)),
        worst=float(known.min()),
        step_norm=step_norm,
        distance=float(np.linalg.norm(news.vector)),
        missing_scores=int(np.isnan(rewards).sum()),
        eta_s=eta_s,
        training=dict(news.metrics),
        **_spent(run, rollouts.scores, step_s, news.train_s),
    )


def validation_event(
    state: RunState,
    verdict: Verdict,
    scores: PopulationScores,
    is_best: bool,
    elapsed_s: float,
    device_s: float,
) -> ValidationEvent:
    """Summarise the mean vector's validation, the first row of `scores`."""
    mean, low, high = verdict.score
    return ValidationEvent(
        generation=state.generation,
        score=mean,
        ci95=(low, high),
        is_best=is_best,
        components=component_means(scores.components, 0),
        constraints=list(verdict.constraints),
        is_feasible=verdict.is_feasible if verdict.constraints else None,
        elapsed_s=elapsed_s,
        device_s=device_s,
        tokens=state.tokens,
        samples=state.samples,
        completions=state.completions,
    )


def result_event(
    state: RunState, objective: Objective, data: JobData, scores: PopulationScores, samples: int
) -> ResultEvent:
    """Summarise the test of base, warm start and aligned model; `adapter` is filled in later."""
    answers, rows = scores.completions, data.test
    return ResultEvent(
        test=test_summaries(scores, objective, state.best_vector),
        validation=_validation(state, len(data.validation)),
        selected_generation=state.best_generation,
        generations=state.generation,
        stop_reason=state.stop_reason,
        seconds=state.elapsed_s,
        tokens=state.tokens,
        adapter="",
        samples=[
            CompletionSample(
                prompt=rows[index].written,
                base=answers[BASE][index],
                warm_start=answers[WARM_START][index],
                aligned=answers[ALIGNED][index],
            )
            for index in spread(len(rows), samples)
        ],
    )


def test_summaries(
    scores: PopulationScores, objective: Objective, vector: FloatArray
) -> dict[str, ScoreSummary]:
    """Base, warm start and aligned model of a final evaluation; `vector` is the aligned one."""
    start = np.zeros_like(vector)
    places = (start, start, vector)
    return {
        name: _summary(scores, row).model_copy(
            update={"constraints": list(objective.judged(scores, row, place))}
        )
        for row, (name, place) in enumerate(zip(TESTED_MODELS, places, strict=True))
    }


def precision_gap(
    searched: str, result: ScoreSummary, served: str, serving: ScoreSummary
) -> str | None:
    """What to tell the user where the two bases disagree by more than the interval; else None.

    A missing score disagrees with nothing.
    """
    low, high = result.ci95
    if not (serving.mean < low or serving.mean > high):
        return None
    return (
        f"the aligned model scores {serving.mean:.3f} on the {served} base, outside the interval "
        f"of its {result.mean:.3f} on the {searched} base ({low:.3f} to {high:.3f}) that it was "
        f"searched on. Set engine.precision to {served} to search on the base you serve, or "
        f"evaluation.serving_precision to {searched} to serve the one you searched on"
    )


def _spent(
    run: Run, scores: PopulationScores, round_s: float, train_s: float = 0.0
) -> dict[str, Any]:
    """Fields of a round that tell its costs, and what the run has used by then."""
    return {
        "generation": run.state.generation,
        "generated_tokens": scores.generated_tokens,
        "tokens_per_s": scores.generated_tokens / max(scores.rollout_s, 1e-9),
        "rollout_s": scores.rollout_s,
        "reward_s": scores.reward_s,
        "train_s": train_s,
        "coordinator_s": max(0.0, round_s - scores.rollout_s - scores.reward_s - train_s),
        "elapsed_s": run.state.elapsed_s,
        "device_s": run.device_s,
        "tokens": run.state.tokens,
        "samples": run.state.samples,
        "completions": run.state.completions,
        "components": component_means(scores.components),
    }


def _known(fitness: FloatArray) -> list[float | None]:
    """Fitness as JSON has it: None where it is missing."""
    return [float(value) if np.isfinite(value) else None for value in fitness]


def _validation(state: RunState, prompts: int) -> ScoreSummary | None:
    if not np.isfinite(state.best_score):
        return None
    return ScoreSummary(mean=state.best_score, ci95=state.best_ci95, prompts=prompts)


def _summary(scores: PopulationScores, row: int) -> ScoreSummary:
    rewards = scores.rewards_N_P[row]
    interval = bootstrap_interval(rewards)
    return ScoreSummary(
        mean=interval.mean,
        ci95=(interval.low, interval.high),
        prompts=len(rewards),
        missing=int(np.isnan(rewards).sum()),
        components=component_means(scores.components, row),
    )
