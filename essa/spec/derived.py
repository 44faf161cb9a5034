"""Settings of a job that follow from others, where the job does not give them. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from essa.spec.search import (
    AnnealedEsSpec,
    CmaEsSpec,
    OpenAiEsSpec,
    RandomSearchSpec,
    SepCmaEsSpec,
    SnesSpec,
)
from essa.types import is_mapping

GENERATIONS = 48
"""Generations that a budget of completions is cut into: enough for a schedule, few enough for large
batches. Where a reward is mostly noise, how many there are matters little."""
POPULATIONS = (16, 1024)
"""Least and largest population that follows from a budget."""
BATCH_SIZE = 32
"""Prompts of a generation that all candidates share, where the job does not say."""


def with_derived(content: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in population, batch size and generations of a search as it was written.

    Values of a wrong type are left to the validation.
    """
    filled = dict(content)
    if _get(filled, "method", "type") in ("grpo", "best_of_n"):
        return filled
    completions = _whole(_get(filled, "budget", "completions"))
    kind = _get(filled, "search", "type") or SepCmaEsSpec().type
    population = _whole(_get(filled, "search", "population"))
    has_pairs = kind == "annealed_es" and _get(filled, "search", "design") != "shared"
    if population is None:
        population = _default_population(kind)
        if has_pairs and completions is not None:
            least, most = POPULATIONS
            population = min(most, max(least, completions // GENERATIONS // 2 * 2))
            filled["search"] = {**_section(filled, "search"), "population": population}
    if has_pairs and "batch_size" not in filled:
        filled["batch_size"] = population // 2
    if completions is not None and _get(filled, "budget", "generations") is None:
        prompts = _whole(filled.get("batch_size")) or BATCH_SIZE
        samples = _whole(_get(filled, "rollout", "samples_per_prompt")) or 1
        one = prompts * samples * (2 if has_pairs else population)
        generations = max(1, math.ceil(completions / one))
        filled["budget"] = {**_section(filled, "budget"), "generations": generations}
    return filled


def _default_population(kind: str) -> int:
    specs = (SepCmaEsSpec, CmaEsSpec, OpenAiEsSpec, AnnealedEsSpec, SnesSpec, RandomSearchSpec)
    defaults = {
        spec.model_fields["type"].default: spec.model_fields["population"].default for spec in specs
    }
    return defaults.get(kind, BATCH_SIZE)


def _section(content: Mapping[str, Any], name: str) -> dict[str, Any]:
    part = content.get(name)
    if isinstance(part, BaseModel):
        return part.model_dump(exclude_unset=True)
    return dict(part) if is_mapping(part) else {}


def _get(content: Mapping[str, Any], section: str, name: str) -> Any:
    return _section(content, section).get(name)


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
