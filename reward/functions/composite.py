"""Named rewards combined into one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reward.base import NaN, Reward, RewardResult
from reward.batch import BatchReward
from reward.combination import combination_of
from reward.errors import RewardError
from reward.metrics import mean_of, means_without_each, shares_of
from reward.resources import RewardResources
from reward.sample import Need, Sample
from reward.spec import CompositeReward


class Composite(Reward[CompositeReward]):
    """Sum, product, minimum or formula of its components.

    Every result keeps the unweighted value of each component under its name; parts of a nested
    reward follow it as `outer.inner`. The value is missing where any component is, also one that is
    reported only, since a part left out would make candidates incomparable.

    A sum is taken answer by answer. So is any other combination of components that score single
    answers. Where a component is a metric of the batch (`batch_component_names`), only its mean is
    a value, so the others are f(means of the components), over the answers that miss none, and each
    answer gets its share as in `reward/metrics.py`.
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
        self._combine = combination_of(spec, path)
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
    def batch_component_names(self) -> tuple[str, ...]:
        """Components whose single values are shares of a metric of the batch, not scores."""
        return tuple(
            name
            for name, part in zip(self._names, self._parts, strict=True)
            if isinstance(part, BatchReward)
            or (isinstance(part, Composite) and part.batch_component_names)
        )

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset().union(*(part.needs for part in self._parts))

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

    def _combined(self, values_P_C: Sequence[Sequence[float]]) -> list[float | str]:
        """One value per answer, or why it has none."""
        if self.spec.combine == "sum" or not self.batch_component_names:
            return [self._attempt(values) for values in values_P_C]
        return self._shares(values_P_C) if values_P_C else []

    def _attempt(self, values: Sequence[float]) -> float | str:
        try:
            return self._combine(values)
        except RewardError as error:
            return error.message

    def _shares(self, values_P_C: Sequence[Sequence[float]]) -> list[float | str]:
        """Combine the means of the components and share the result out among the answers."""
        columns = list(zip(*values_P_C, strict=True))
        whole = self._attempt([mean_of(column) for column in columns])
        if isinstance(whole, str) or len(values_P_C) == 1:
            return [whole] * len(values_P_C)
        left = zip(*(means_without_each(column) for column in columns), strict=True)
        without = [self._attempt(means) for means in left]
        # The batch has its value. An answer without which it would have none, as of a root at 0,
        # counts as if it made no difference.
        return shares_of(whole, [whole if isinstance(one, str) else one for one in without])
