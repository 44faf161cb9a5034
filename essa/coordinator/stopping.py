"""When a search ends."""

from __future__ import annotations

from essa.coordinator.state import RunState
from essa.spec.job import BudgetSpec


def stop_reason(budget: BudgetSpec, state: RunState, validation_score: float | None) -> str:
    """Why to stop now; empty to go on. Pure.

    Args:
        validation_score: of the mean vector, where it was scored in this generation.
    """
    if (
        budget.target_score is not None
        and validation_score is not None
        and validation_score >= budget.target_score
    ):
        return f"validation score reached budget.target_score {budget.target_score:g}"
    if state.generation >= budget.generations:
        return f"budget.generations {budget.generations} done"
    free_s, free_tokens = _not_counted(budget, state)
    if budget.wall_s is not None and state.elapsed_s - free_s >= budget.wall_s:
        return f"budget.wall_s {budget.wall_s:g} used up"
    if budget.tokens is not None and state.tokens - free_tokens >= budget.tokens:
        return f"budget.tokens {budget.tokens} used up"
    if budget.completions is not None and _is_nearest(budget.completions, state):
        return f"budget.completions {budget.completions} used up"
    return ""


def budget_frac(budget: BudgetSpec, state: RunState, elapsed_s: float) -> float:
    """Share of the search's budget that is used up, from 0 to 1, by its nearest limit. Pure.

    What came before the first generation leaves the search less, and is no part of its share.
    """
    free_s, free_tokens = _not_counted(budget, state)
    start, used = state.at_start, state.used(elapsed_s)
    limits = (
        (budget.generations, 0, used.generations),
        (_plus(budget.wall_s, free_s), start.seconds, used.seconds),
        (_plus(budget.tokens, free_tokens), start.tokens, used.tokens),
        (budget.completions, start.completions, used.completions),
    )
    shares = [
        (now - first) / (limit - first) if limit > first else 1.0
        for limit, first, now in limits
        if limit is not None
    ]
    return min(1.0, max(shares))


def _plus(limit: float | None, free: float) -> float | None:
    return None if limit is None else limit + free


def _is_nearest(limit: int, state: RunState) -> bool:
    """Whether one more generation would end further from the limit than this one."""
    searched = state.completions - state.at_start.completions
    one = searched / max(1, state.generation)
    return state.completions + one / 2 > limit


def eta_s(budget: BudgetSpec, state: RunState, generation_s: float) -> float:
    """Seconds until the budget ends the search at the latest, at the present pace. Pure."""
    left = (budget.generations - state.generation) * generation_s
    if budget.wall_s is not None:
        free_s, _ = _not_counted(budget, state)
        left = min(left, budget.wall_s + free_s - state.elapsed_s)
    return max(0.0, left)


def _not_counted(budget: BudgetSpec, state: RunState) -> tuple[float, int]:
    """Seconds and tokens that do not use up the budget."""
    if budget.after_warm_start:
        return state.warm_start_s, state.warm_start_tokens
    return 0.0, 0
