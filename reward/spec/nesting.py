"""Rewards inside rewards."""

from __future__ import annotations

from collections.abc import Iterator

from reward.spec.model import RewardModel


def parts_of(model: RewardModel) -> Iterator[RewardModel]:
    """What a specification holds directly: rewards, and named components around them."""
    for name in type(model).model_fields:
        value = getattr(model, name)
        for part in value if isinstance(value, tuple) else (value,):
            if isinstance(part, RewardModel):
                yield part


def depth_of(model: RewardModel, kind: type[RewardModel]) -> int:
    """How many models of this kind stand inside one another, the model itself included."""
    below = max((depth_of(part, kind) for part in parts_of(model)), default=0)
    return below + isinstance(model, kind)
