"""The ask/tell port of every search strategy, and its saved state."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import numpy as np

from essa.errors import SearchError, StateMismatchError
from essa.search import shaping
from essa.types import FloatArray

FLAT = "all candidates have the same fitness"


class StepReport(NamedTuple):
    """What one tell() did.

    `step_norm` is the Euclidean length of the mean's move, in search coordinates. `updated` is
    False where mean and sigma were left alone, and `reason` then says why.
    """

    step_norm: float
    updated: bool
    reason: str = ""


class BudgetShare(NamedTuple):
    """Shares of the run's budget, from 0 to 1, used before and after a generation."""

    before: float
    after: float


@dataclass(frozen=True)
class SearchStart:
    """What every strategy starts from.

    `sigma_init` is in units of the search coordinates; `center` has shape (D,), None is the origin,
    which is the warm start.
    """

    dimension: int
    population: int
    sigma_init: float
    seed: int
    center: FloatArray | None = None

    def __post_init__(self) -> None:
        if self.dimension < 1 or self.population < shaping.MIN_USABLE:
            raise SearchError(
                f"a search needs dimension >= 1 and population >= {shaping.MIN_USABLE}, got "
                f"{self.dimension} and {self.population}; set search.alpha and search.population"
            )
        if not (np.isfinite(self.sigma_init) and self.sigma_init > 0):
            raise SearchError(f"search.sigma_init must be above 0, got {self.sigma_init}")
        if self.center is not None and np.shape(self.center) != (self.dimension,):
            raise SearchError(
                f"the center has shape {np.shape(self.center)}, the search {(self.dimension,)}"
            )

    def first_mean(self) -> FloatArray:
        """Starting point, shape (D,), a new array."""
        if self.center is None:
            return np.zeros(self.dimension)
        return np.array(self.center, dtype=np.float64)


@dataclass(frozen=True)
class SearchState:
    """Everything a strategy needs to go on bit by bit, as plain data.

    `scalars` can be written as JSON. The settings of the strategy (rates, floors) are not in it:
    they come from the specification.
    """

    kind: str
    dimension: int
    population: int
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    scalars: dict[str, Any] = field(default_factory=dict)

    def to_meta(self) -> dict[str, Any]:
        """All but the arrays, as JSON-able data; `from_parts` is the way back."""
        return {
            "kind": self.kind,
            "dimension": self.dimension,
            "population": self.population,
            "scalars": self.scalars,
        }

    @classmethod
    def from_parts(cls, arrays: dict[str, np.ndarray], meta: dict[str, Any]) -> SearchState:
        """Put together what `arrays` and `to_meta()` gave.

        Raises:
            StateMismatchError: `meta` lacks an entry.
        """
        try:
            return cls(arrays=arrays, **{key: meta[key] for key in _META_KEYS})
        except KeyError as missing:
            raise StateMismatchError(f"the saved search state has no entry {missing}") from missing


_META_KEYS = ("kind", "dimension", "population", "scalars")


class SearchStrategy(ABC):
    """One search over R^D that maximises fitness. Not thread-safe.

    ask() and tell() alternate. ask() repeats the same candidates until they are told, so that a
    resumed run, or one whose evaluation failed, simply asks again. Ties, missing scores and flat
    generations follow `essa.search.shaping`.
    """

    kind: ClassVar[str]
    antithetic: ClassVar[bool] = False
    """True if candidates 2i and 2i + 1 mirror each other."""
    _free_shapes: ClassVar[frozenset[str]] = frozenset()
    """Arrays whose shape is itself part of the state."""

    def __init__(self, start: SearchStart) -> None:
        self._dimension = start.dimension
        self._population = start.population
        self._rng = np.random.Generator(np.random.PCG64(start.seed))
        self._asked_N_D: FloatArray | None = None

    @property
    def dimension(self) -> int:
        """Number of search coordinates, D."""
        return self._dimension

    @property
    def population(self) -> int:
        """Candidates per generation, N."""
        return self._population

    @property
    @abstractmethod
    def mean(self) -> FloatArray:
        """Current best guess, shape (D,), a copy. This is what gets validated and exported."""

    @property
    @abstractmethod
    def sigma(self) -> float:
        """Standard deviation per coordinate, the geometric mean where coordinates differ."""

    @property
    def axis_ratio(self) -> float | None:
        """Longest over shortest axis of the distribution; None where it is always a sphere."""
        return None

    def ask(self) -> FloatArray:
        """Return the candidates to evaluate, shape (N, D), a copy.

        Repeats itself until tell().
        """
        if self._asked_N_D is None:
            self._asked_N_D = self._sample()
        return self._asked_N_D.copy()

    def tell(self, fitness_N: FloatArray, budget: BudgetShare | None = None) -> StepReport:
        """Update from the fitness of the candidates of the last ask().

        Args:
            fitness_N: shape (N,), higher is better, NaN is missing. Not modified.
            budget: how far the run has come; needed where the step follows a schedule.

        Returns:
            What happened; see `StepReport`.

        Raises:
            NonFiniteFitnessError: too few candidates have a score; the state is unchanged and
                the same candidates can be told again.
            SearchError: nothing was asked, the shape is wrong, or `budget` is needed and missing.
        """
        if self._asked_N_D is None:
            raise SearchError("tell() without candidates: call ask() first")
        if np.shape(fitness_N) != (self._population,):
            raise SearchError(
                f"fitness has shape {np.shape(fitness_N)}, but search.population is "
                f"{self._population}"
            )
        usable_N = shaping.usable_fitness(fitness_N, antithetic=self.antithetic)
        asked_N_D, self._asked_N_D = self._asked_N_D, None
        if shaping.is_flat(usable_N):
            return StepReport(0.0, False, FLAT)
        before = self.mean
        reason = self._update(asked_N_D, usable_N, budget)
        return StepReport(float(np.linalg.norm(self.mean - before)), not reason, reason)

    def state(self) -> SearchState:
        """Copy the state, the random generator and an unanswered ask() included."""
        arrays = {name: _copy(value) for name, value in self._arrays().items()}
        if self._asked_N_D is not None:
            arrays["asked"] = self._asked_N_D.copy()
        scalars = {**self._scalars(), "rng": self._rng.bit_generator.state}
        return SearchState(self.kind, self._dimension, self._population, arrays, scalars)

    def restore(self, state: SearchState) -> None:
        """Continue from a saved state; the strategy must have been built from the same spec.

        Raises:
            StateMismatchError: the state is of another kind, dimension or population, or
                incomplete; nothing has changed then.
        """
        for name in ("kind", "dimension", "population"):
            saved, own = getattr(state, name), getattr(self, name)
            if saved != own:
                raise StateMismatchError(
                    f"the saved search has {name} {saved}, this one {own}; resume with the "
                    "search settings of the saved job, or start a new job"
                )
        self._check_complete(state)
        self._load(
            {name: _copy(value) for name, value in state.arrays.items()}, dict(state.scalars)
        )
        asked = state.arrays.get("asked")
        self._asked_N_D = None if asked is None else np.array(asked, dtype=np.float64)
        self._rng.bit_generator.state = state.scalars["rng"]

    def _check_complete(self, state: SearchState) -> None:
        expected = {name: value.shape for name, value in self._arrays().items()}
        if "asked" in state.arrays:
            expected["asked"] = (self._population, self._dimension)
        for name, shape in expected.items():
            found = state.arrays.get(name)
            if found is None or (found.shape != shape and name not in self._free_shapes):
                raise StateMismatchError(
                    f"the saved {self.kind} state has {name} of shape "
                    f"{None if found is None else found.shape}, expected {shape}"
                )
        missing = {*self._scalars(), "rng"} - state.scalars.keys()
        if missing:
            raise StateMismatchError(f"the saved {self.kind} state lacks {sorted(missing)}")

    @abstractmethod
    def _sample(self) -> FloatArray:
        """Draw the next candidates, shape (N, D)."""

    @abstractmethod
    def _update(
        self, asked_N_D: FloatArray, usable_N: FloatArray, budget: BudgetShare | None
    ) -> str:
        """Learn from at least two usable, not all equal candidates.

        Returns an empty string, or why nothing was changed.
        """

    @abstractmethod
    def _arrays(self) -> dict[str, np.ndarray]:
        """Arrays of the state; copied by the caller."""

    @abstractmethod
    def _scalars(self) -> dict[str, Any]:
        """JSON-able rest of the state."""

    @abstractmethod
    def _load(self, arrays: dict[str, np.ndarray], scalars: dict[str, Any]) -> None:
        """Take over complete parts of a state; the arrays are ours to keep."""


def _copy(value: np.ndarray) -> np.ndarray:
    # Order K keeps the memory layout: BLAS rounds differently on a transposed copy.
    return np.array(value, order="K", copy=True)
