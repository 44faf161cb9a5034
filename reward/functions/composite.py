"""Named rewards combined into one, and the ways of combining them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from reward.base import NaN, Reward, RewardResult
from reward.batch import BatchReward
from reward.errors import RewardError
from reward.formula import Formula, FormulaError
from reward.metrics import mean_of, means_without_each, shares_of
from reward.resources import RewardResources
from reward.sample import Need, Sample
from reward.spec import CompositeSpec

_Combination = Callable[[Sequence[float]], float]
"""Function from one finite value per component, in the order of the specification, to one value."""


class Composite(Reward[CompositeSpec]):
    """Sum, product, minimum or formula of its components.

    Every result keeps the unweighted value of each component under its name; parts of a nested
    reward follow as `outer.inner`. The value is missing if any component is missing, even one that
    is only reported, since leaving a part out would make candidates incomparable.

    A sum is computed answer by answer. So is any other combination of components that score single
    answers. If a component is a metric of the batch (`batch_component_names`), only its mean is
    meaningful. Combinations other than the sum are then computed from the means of the components
    over the answers that miss none, and each answer gets its share as in `reward/metrics.py`.
    """

    def __init__(
        self,
        spec: CompositeSpec,
        path: str = "reward",
        resources: RewardResources | None = None,
    ) -> None:
        super().__init__(spec, path, resources)
        self._names = tuple(part.name for part in spec.components)
        self._combine = _combination_of(spec, path)
        self._parts = tuple(
            self.resources.build(part.reward, f"{path}.components[{index}].reward", self.resources)
            for index, part in enumerate(spec.components)
        )

    @property
    def component_names(self) -> tuple[str, ...]:
        names: list[str] = []
        for name, part in zip(self._names, self._parts, strict=True):
            names += [name, *(f"{name}.{inner}" for inner in part.component_names)]
        return tuple(names)

    @property
    def batch_component_names(self) -> tuple[str, ...]:
        """Names of components whose single values are shares of a batch metric, not scores."""
        return tuple(
            name
            for name, part in zip(self._names, self._parts, strict=True)
            if isinstance(part, BatchReward)
            or (isinstance(part, Composite) and part.batch_component_names)
        )

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset[Need]().union(*(part.needs for part in self._parts))

    @property
    def is_batch(self) -> bool:
        return any(part.is_batch for part in self._parts)

    def costs(self) -> dict[str, dict[str, float | None]]:
        return {place: used for part in self._parts for place, used in part.costs().items()}

    def close(self) -> None:
        for part in self._parts:
            part.close()

    def check_row(self, columns: Mapping[str, Any]) -> None:
        for part in self._parts:
            part.check_row(columns)

    def score(self, samples: Sequence[Sample]) -> list[RewardResult]:
        columns = [part.score(samples) for part in self._parts]
        rows = list(zip(*columns, strict=True))
        errors = [self._missing(results) for results in rows]
        whole = [
            [result.value for result in results]
            for results, error in zip(rows, errors, strict=True)
            if error is None
        ]
        combined = iter(self._combined(whole))
        return [
            self._result(results, next(combined) if error is None else error)
            for results, error in zip(rows, errors, strict=True)
        ]

    def _missing(self, results: Sequence[RewardResult]) -> str | None:
        errors = [
            f"component {name}: {result.error}"
            for name, result in zip(self._names, results, strict=True)
            if result.missing
        ]
        return "; ".join(errors) or None

    def _result(self, results: Sequence[RewardResult], value: float | str) -> RewardResult:
        components: dict[str, float] = {}
        for name, result in zip(self._names, results, strict=True):
            components[name] = result.value
            components |= {f"{name}.{inner}": value for inner, value in result.components.items()}
        if isinstance(value, str):
            return RewardResult(NaN, components, value)
        return RewardResult(value, components)

    def _combined(self, values_P_C: Sequence[Sequence[float]]) -> Sequence[float | str]:
        """Return for each of P answers the combination of its C values, or why it has none."""
        if self.spec.combine == "sum" or not self.batch_component_names:
            return [self._attempt(values) for values in values_P_C]
        return self._shares(values_P_C) if values_P_C else []

    def _attempt(self, values: Sequence[float]) -> float | str:
        try:
            return self._combine(values)
        except RewardError as error:
            return error.message

    def _shares(self, values_P_C: Sequence[Sequence[float]]) -> Sequence[float | str]:
        """Combine the means of the components and share the result out among the answers."""
        columns = list(zip(*values_P_C, strict=True))
        whole = self._attempt([mean_of(column) for column in columns])
        if isinstance(whole, str) or len(values_P_C) == 1:
            return [whole] * len(values_P_C)
        left = zip(*(means_without_each(column) for column in columns), strict=True)
        without = [self._attempt(means) for means in left]
        # The batch has a value. If it would have none without some answer, as with a negative
        # number under a root, that answer counts as if it made no difference.
        return shares_of(whole, [whole if isinstance(one, str) else one for one in without])


def _combination_of(spec: CompositeSpec, path: str) -> _Combination:
    """Build the combination that `combine` names.

    Args:
        spec: specification of the composite.
        path: path of the composite in the job, for messages.
    Returns:
        A function that raises RewardError if its values have no finite combination.
    """
    return _COMBINATIONS[spec.combine](spec, path)


def _sum(spec: CompositeSpec, path: str) -> _Combination:
    weights = [part.weight for part in spec.components]

    def combine(values: Sequence[float]) -> float:
        terms = [weight * value for weight, value in zip(weights, values, strict=True)]
        try:
            return _finite(math.fsum(terms))
        except (OverflowError, ValueError) as error:
            raise RewardError(
                f"{path}: the weighted sum is not finite ({error}); lower the weights"
            ) from error

    return combine


def _product(spec: CompositeSpec, path: str) -> _Combination:
    parts = [(part.name, part.weight) for part in spec.components]

    def power(name: str, weight: float, value: float) -> float:
        try:
            # Not `**`: a negative value with a fractional weight would come out complex.
            return math.pow(value, weight)
        except (OverflowError, ValueError) as error:
            raise RewardError(
                f"{path}: component {name} is {value:g}, which has no power {weight:g} ({error}); "
                "change its weight, or use a component that is never negative"
            ) from error

    def combine(values: Sequence[float]) -> float:
        factors = [
            power(name, weight, value) for (name, weight), value in zip(parts, values, strict=True)
        ]
        try:
            return _finite(math.prod(factors))
        except OverflowError as error:
            raise RewardError(
                f"{path}: the product is not finite ({error}); lower the weights"
            ) from error

    return combine


def _min(spec: CompositeSpec, path: str) -> _Combination:
    taken = [index for index, part in enumerate(spec.components) if part.weight]
    return lambda values: min(values[index] for index in taken)


def _formula(spec: CompositeSpec, path: str) -> _Combination:
    assert spec.formula is not None
    names = [part.name for part in spec.components]
    formula = Formula(spec.formula, names)

    def combine(values: Sequence[float]) -> float:
        try:
            return formula(dict(zip(names, values, strict=True)))
        except FormulaError as error:
            raise RewardError(
                f"{path}.formula: {error}; guard it, or change the formula"
            ) from error

    return combine


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise OverflowError(f"it is {value}")
    return value


_COMBINATIONS: dict[str, Callable[[CompositeSpec, str], _Combination]] = {
    "sum": _sum,
    "product": _product,
    "min": _min,
    "formula": _formula,
}
