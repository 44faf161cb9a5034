"""How a composite makes one value of those of its components."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from reward.errors import RewardError
from reward.formula import Formula, FormulaError
from reward.spec import CompositeReward

Combination = Callable[[Sequence[float]], float]
"""From one finite value per component, in the order of the specification, to one finite value."""


def combination_of(spec: CompositeReward, path: str) -> Combination:
    """Build the combination that `combine` names.

    Args:
        spec: of the composite.
        path: where it stands in the job, for messages.
    Returns:
        A function that raises RewardError where these values have no finite combination.
    """
    return _COMBINATIONS[spec.combine](spec, path)


def _sum(spec: CompositeReward, path: str) -> Combination:
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


def _product(spec: CompositeReward, path: str) -> Combination:
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


def _min(spec: CompositeReward, path: str) -> Combination:
    taken = [index for index, part in enumerate(spec.components) if part.weight]
    return lambda values: min(values[index] for index in taken)


def _formula(spec: CompositeReward, path: str) -> Combination:
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


_COMBINATIONS: dict[str, Callable[[CompositeReward, str], Combination]] = {
    "sum": _sum,
    "product": _product,
    "min": _min,
    "formula": _formula,
}
