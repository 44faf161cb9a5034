"""A weighted sum of named rewards."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from reward.base import NaN, Reward, RewardResult
from reward.resources import RewardResources
from reward.sample import Need, Sample
from reward.spec import CompositeReward


class Composite(Reward[CompositeReward]):
    """Sum of weight times value over its components.

    Every result keeps the unweighted value of each component under its name; parts of a nested
    composite follow it as `outer.inner`. The sum is missing where any component is, also one of
    weight 0, since a part left out would make candidates incomparable.
    """

    def __init__(
        self,
        spec: CompositeReward,
        path: str = "reward",
        resources: RewardResources | None = None,
    ) -> None:
        # The registry imports this module, so it can only be reached once both are loaded.
        from reward.registry import build_reward

        super().__init__(spec, path, resources)
        self._names = tuple(part.name for part in spec.components)
        self._weights = tuple(part.weight for part in spec.components)
        self._parts = tuple(
            build_reward(part.reward, f"{path}.components[{index}].reward", resources)
            for index, part in enumerate(spec.components)
        )

    @property
    def component_names(self) -> tuple[str, ...]:
        names: list[str] = []
        for name, part in zip(self._names, self._parts, strict=True):
            names += [name, *(f"{name}.{inner}" for inner in part.component_names)]
        return tuple(names)

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset().union(*(part.needs for part in self._parts))

    @property
    def is_batch(self) -> bool:
        return any(part.is_batch for part in self._parts)

    def close(self) -> None:
        for part in self._parts:
            part.close()

    def check_row(self, columns: Mapping[str, Any]) -> None:
        for part in self._parts:
            part.check_row(columns)

    def score(self, samples: Sequence[Sample]) -> list[RewardResult]:
        columns = [part.score(samples) for part in self._parts]
        return [self._sum(results) for results in zip(*columns, strict=True)]

    def _sum(self, results: Sequence[RewardResult]) -> RewardResult:
        components: dict[str, float] = {}
        errors: list[str] = []
        for name, result in zip(self._names, results, strict=True):
            components[name] = result.value
            components |= {f"{name}.{inner}": value for inner, value in result.components.items()}
            if result.missing:
                errors.append(f"component {name}: {result.error}")
        if errors:
            return RewardResult(NaN, components, "; ".join(errors))
        terms = [
            weight * result.value for weight, result in zip(self._weights, results, strict=True)
        ]
        try:
            return RewardResult(math.fsum(terms), components)
        except (OverflowError, ValueError) as error:
            message = f"{self.path}: the weighted sum is not finite ({error}); lower the weights"
            return RewardResult(NaN, components, message)
