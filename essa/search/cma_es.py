"""CMA-ES, separable and full, on pycma. The only module that knows pycma, which minimises.

pycma is given the order of the candidates (0 is the best) in place of their fitness, and per-update
recombination weights where candidates tie or are missing; see `essa.search.shaping`. Without ties
and missing scores the update is pycma's own.

What is pinned, and why:

- `AdaptSigma` is CSA; pycma's default becomes two-point adaptation from 300 dimensions on.
- No mirrored injections and no re-parametrisation of an ill-conditioned C (`CMA_mirrors`,
  `conditioncov_alleviate`): both keep state outside of what is saved here.
- `stop()` is never called, so no termination criterion of pycma (tolx, tolfun, tolflatfitness,
  tolstagnation ...) can act: stopping is the coordinator's decision.
- `randn` is the strategy's own generator and `seed` is NaN, which tells pycma to leave numpy's
  global generator alone. Nothing is printed and no file is read or written.
"""

from __future__ import annotations

import warnings
from types import ModuleType
from typing import Any, ClassVar

import numpy as np

from essa.errors import SpecError, StateMismatchError
from essa.search.base import BudgetShare, SearchStart, SearchState, SearchStrategy
from essa.search.shaping import best_first, recombination_weights
from essa.types import FloatArray

MIN_POPULATION = 3
MIN_DIMENSION = 2


class _CmaStrategy(SearchStrategy):
    """What both variants share.

    The state is pycma's own, by name: mean, sigma, evolution paths, coordinate scaling, the
    generation counter, and for the full variant C with its lazily updated eigenvectors.
    """

    diagonal: ClassVar[bool]
    _free_shapes: ClassVar[frozenset[str]] = frozenset({"scaling"})

    def __init__(
        self, start: SearchStart, *, learning_rate_mean: float = 1.0, sigma_min: float = 0.0
    ) -> None:
        super().__init__(start)
        _check_start(start, sigma_min)
        cma = import_cma()
        self._version = str(cma.__version__)
        self._es = cma.CMAEvolutionStrategy(
            start.first_mean(),
            start.sigma_init,
            self._options(cma, learning_rate_mean, sigma_min),
        )
        # Rates stay those of the nominal weights when ties or missing scores change mu_eff for one
        # generation: the negative weights keep C positive definite only under these rates.
        rates = dict(self._es.sm.parameters(mueff=self._es.sp.weights.mueff, lam=self.population))

        def nominal_rates(mueff: object = None, lam: object = None) -> dict[str, float]:
            return rates

        self._es.sm.parameters = nominal_rates

    def _options(
        self, cma: ModuleType, learning_rate_mean: float, sigma_min: float
    ) -> dict[str, Any]:
        from cma.sigma_adaptation import CMAAdaptSigmaCSA

        def drawn(*shape: int) -> FloatArray:
            return self._rng.standard_normal(shape)

        return {
            "popsize": self.population,
            "CMA_diagonal": self.diagonal,
            "CMA_cmean": learning_rate_mean,
            "AdaptSigma": CMAAdaptSigmaCSA,
            "CMA_mirrors": 0,
            "conditioncov_alleviate": False,
            "minstd": sigma_min,
            "randn": drawn,
            "seed": np.nan,
            "verbose": -10,
        }

    @property
    def mean(self) -> FloatArray:
        """Mean of the distribution."""
        return np.array(self._es.mean, dtype=np.float64)

    @property
    def sigma(self) -> float:
        """Geometric mean of the coordinates' standard deviations."""
        stds: FloatArray = self._es.stds
        return float(np.exp(np.mean(np.log(stds))))

    def _sample(self) -> FloatArray:
        asked_N_D = np.array(self._es.ask(), dtype=np.float64)
        # pycma keeps every candidate it handed out; here they come back unchanged.
        self._es.sent_solutions.clear()
        return asked_N_D

    def _update(
        self, asked_N_D: FloatArray, usable_N: FloatArray, budget: BudgetShare | None
    ) -> str:
        order = best_first(usable_N)
        positions = np.empty(self.population)
        positions[order] = np.arange(self.population)
        parameters = self._es.sp
        nominal = parameters.weights
        if len(np.unique(usable_N[~np.isnan(usable_N)])) < self.population:
            shared = recombination_weights(np.array(list(nominal)), usable_N)
            parameters.weights = _SharedWeights(shared.mean[order], shared.covariance[order])
        try:
            self._es.tell(list(asked_N_D), list(positions), check_points=False)
        finally:
            parameters.weights = nominal
        return ""

    def _arrays(self) -> dict[str, np.ndarray]:
        es = self._es
        return {
            "mean": es.mean,
            "path_covariance": es.pc,
            "path_sigma": es.adapt_sigma.ps,
            "scaling": es.sigma_vec.scaling,
        }

    def _scalars(self) -> dict[str, Any]:
        es = self._es
        return {
            "cma": self._version,
            "sigma": float(es.sigma),
            "updates": int(es.countiter),
            "scaling_is_identity": bool(es.sigma_vec.is_identity),
        }

    def _check_complete(self, state: SearchState) -> None:
        super()._check_complete(state)
        if state.scalars["cma"] != self._version:
            raise StateMismatchError(
                f"the saved search was written with cma {state.scalars['cma']}, installed is "
                f"{self._version}; install that version to resume, or start a new job"
            )
        if state.arrays["scaling"].shape not in {(), (self.dimension,)}:
            raise StateMismatchError(
                f"the saved scaling has shape {state.arrays['scaling'].shape}, the search "
                f"{(self.dimension,)}"
            )

    def _load(self, arrays: dict[str, np.ndarray], scalars: dict[str, Any]) -> None:
        es = self._es
        # Puts pycma between ask and tell; what it drew is overwritten, as is the generator's state.
        es.ask()
        es.sent_solutions.clear()
        es.mean, es.pc = arrays["mean"], arrays["path_covariance"]
        es.mean_old = es.mean.copy()  # read, but not used, by the next tell
        es.adapt_sigma.ps = arrays["path_sigma"]
        es.sigma_vec.scaling = arrays["scaling"]
        es.sigma_vec.is_identity = scalars["scaling_is_identity"]
        es.sigma_vec.dim = arrays["scaling"].size
        es.sigma, es.countiter = scalars["sigma"], scalars["updates"]


class SepCmaEs(_CmaStrategy):
    """CMA-ES with a diagonal covariance: O(N D) per generation.

    Source:
        Ros & Hansen (2008), PPSN X; rates of pycma (`CMA_diagonal=True`).
    """

    kind: ClassVar[str] = "sep_cma_es"
    diagonal: ClassVar[bool] = True

    @property
    def axis_ratio(self) -> float:
        """Largest over smallest standard deviation."""
        return float(self._es.stds.max() / self._es.stds.min())


class CmaEs(_CmaStrategy):
    """CMA-ES with a full covariance: O(D^2) memory, 16 bytes per entry of C.

    Source:
        Hansen & Ostermeier (2001), Evolutionary Computation 9(2); defaults of pycma.
    """

    kind: ClassVar[str] = "cma_es"
    diagonal: ClassVar[bool] = False

    @property
    def axis_ratio(self) -> float:
        """Longest over shortest axis of C, as of its last eigendecomposition."""
        return float(np.sqrt(self._es.sm.condition_number))

    def _arrays(self) -> dict[str, np.ndarray]:
        sampler = self._es.sm
        return super()._arrays() | {
            "covariance": sampler.C,
            "eigenvectors": sampler.B,
            "axis_lengths": sampler.D,
        }

    def _scalars(self) -> dict[str, Any]:
        sampler = self._es.sm
        counters = ("last_update", "count_tell", "count_eigen")
        return super()._scalars() | {name: int(getattr(sampler, name)) for name in counters}

    def _load(self, arrays: dict[str, np.ndarray], scalars: dict[str, Any]) -> None:
        super()._load(arrays, scalars)
        sampler = self._es.sm
        sampler.C, sampler.B = arrays["covariance"], arrays["eigenvectors"]
        sampler.D = arrays["axis_lengths"]
        for name in ("last_update", "count_tell", "count_eigen"):
            setattr(sampler, name, scalars[name])


class _SharedWeights(list[float]):
    """Weights of one update in the form in which pycma reads them, best candidate first.

    pycma's own class insists on one list for mean and covariance; averaging over a tie that
    straddles the parents needs two. `mueff` is that of these weights, so that both evolution paths
    stay standard normal without selection.
    """

    def __init__(self, mean: FloatArray, covariance: FloatArray) -> None:
        super().__init__(float(weight) for weight in covariance)
        self.positive_weights = mean[mean > 0]
        self.mu = len(self.positive_weights)
        self.mueff = float(1 / np.sum(self.positive_weights**2))
        self.lambda_ = len(self)

    def __call__(self, lambda_: int) -> list[float]:
        return list(self)


def _check_start(start: SearchStart, sigma_min: float) -> None:
    if start.population < MIN_POPULATION:
        raise SpecError(
            f"search.population is {start.population}; CMA-ES needs at least {MIN_POPULATION}",
            field="search.population",
        )
    if start.dimension < MIN_DIMENSION:
        raise SpecError(
            f"the search has {start.dimension} dimension and CMA-ES needs at least "
            f"{MIN_DIMENSION}; raise search.alpha or take search.type snes",
            field="search.alpha",
        )
    if start.sigma_init < sigma_min:
        raise SpecError(
            f"search.sigma_init is {start.sigma_init}, below search.sigma_min {sigma_min}",
            field="search.sigma_min",
        )


def import_cma() -> ModuleType:
    """Import pycma quietly, and only when a CMA-ES is built.

    At import it pulls in matplotlib where that is installed, and warns where it is not.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import cma
    return cma
