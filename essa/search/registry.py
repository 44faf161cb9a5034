"""From a search specification to a strategy."""

from __future__ import annotations

from essa.search.annealed_es import AnnealedEs
from essa.search.base import SearchStart, SearchStrategy
from essa.search.cma_es import CmaEs, SepCmaEs
from essa.search.open_es import OpenAiEs
from essa.search.random_search import RandomSearch
from essa.search.snes import Snes
from essa.spec.search import SearchSpec, SearchSpecModel
from essa.types import FloatArray

STRATEGIES: dict[str, type[SearchStrategy]] = {
    strategy.kind: strategy
    for strategy in (SepCmaEs, CmaEs, OpenAiEs, AnnealedEs, Snes, RandomSearch)
}
"""One entry per `type` of the specification, whose own settings a strategy takes by their names."""


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
    own = type(spec).model_fields.keys() - {"type", *SearchSpecModel.model_fields}
    return STRATEGIES[spec.type](start, **{name: getattr(spec, name) for name in own})
