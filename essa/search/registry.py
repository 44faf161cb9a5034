"""From a search specification to a strategy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from essa.search.base import SearchStart, SearchStrategy
from essa.search.cma_es import CmaEs, SepCmaEs
from essa.search.open_es import OpenAiEs
from essa.search.random_search import RandomSearch
from essa.search.snes import Snes
from essa.spec.search import CmaEsSpec, SearchSpec, SepCmaEsSpec
from essa.types import FloatArray


def _cma_settings(spec: SepCmaEsSpec | CmaEsSpec) -> dict[str, float]:
    return {"learning_rate_mean": spec.learning_rate_mean, "sigma_min": spec.sigma_min}


STRATEGIES: dict[str, Callable[[SearchStart, Any], SearchStrategy]] = {
    SepCmaEs.kind: lambda start, spec: SepCmaEs(start, **_cma_settings(spec)),
    CmaEs.kind: lambda start, spec: CmaEs(start, **_cma_settings(spec)),
    OpenAiEs.kind: lambda start, spec: OpenAiEs(
        start,
        optimizer=spec.optimizer,
        learning_rate=spec.learning_rate,
        weight_decay=spec.weight_decay,
    ),
    Snes.kind: lambda start, spec: Snes(
        start,
        learning_rate_mean=spec.learning_rate_mean,
        learning_rate_sigma=spec.learning_rate_sigma,
        sigma_min=spec.sigma_min,
    ),
    RandomSearch.kind: lambda start, spec: RandomSearch(start),
}
"""One entry per `type` of the specification."""


def make_search(
    spec: SearchSpec,
    dimension: int,
    sigma_init: float,
    seed: int,
    center: FloatArray | None = None,
) -> SearchStrategy:
    """Build the strategy a specification names.

    Args:
        spec: which strategy, its population and its settings; `spec.sigma_init` is not read.
        dimension: number of search coordinates, D.
        sigma_init: resolved step size, in search coordinates, > 0.
        seed: of the strategy's own generator, >= 0.
        center: starting mean, shape (D,); None is the origin, the warm start.

    Raises:
        SpecError: the strategy cannot work with this population, dimension or step size.
        SearchError: dimension, step size or center are unusable for any strategy.
    """
    start = SearchStart(dimension, spec.population, sigma_init, seed, center)
    return STRATEGIES[spec.type](start, spec)
