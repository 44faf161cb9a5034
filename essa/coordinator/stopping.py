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
    return ""


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
