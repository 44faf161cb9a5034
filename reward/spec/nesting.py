"""Rewards inside rewards."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar, cast

from reward.spec.model import RewardSpecModel

Model = TypeVar("Model", bound=RewardSpecModel)


def parts_of(model: RewardSpecModel) -> Iterator[RewardSpecModel]:
    """Yield the direct parts of a specification: rewards, and named components around them."""
    for name in type(model).model_fields:
        value: Any = getattr(model, name)
        parts = cast("tuple[Any, ...]", value) if isinstance(value, tuple) else (value,)
        for part in parts:
            if isinstance(part, RewardSpecModel):
                yield part


def models_in(model: RewardSpecModel, kind: type[Model]) -> Iterator[Model]:
    """Yield all models of a kind inside a model, the model itself included."""
    if isinstance(model, kind):
        yield model
    for part in parts_of(model):
        yield from models_in(part, kind)


def depth_of(model: RewardSpecModel, kind: type[RewardSpecModel]) -> int:
    """Return how deep models of a kind are nested in one another, the model itself included."""
    below = max((depth_of(part, kind) for part in parts_of(model)), default=0)
    return below + isinstance(model, kind)
