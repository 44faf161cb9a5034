"""From a reward's specification to the reward."""

from __future__ import annotations

from reward.base import Reward
from reward.errors import RewardConfigError
from reward.functions.composite import Composite
from reward.functions.exact_match import ExactMatch
from reward.functions.keywords import Keywords
from reward.functions.length import Length
from reward.functions.numeric_match import NumericMatch
from reward.functions.regex import Regex
from reward.functions.sentiment import Sentiment
from reward.resources import RewardResources
from reward.spec import RewardSpec

REWARDS: dict[str, type[Reward]] = {
    "composite": Composite,
    "exact_match": ExactMatch,
    "keywords": Keywords,
    "length": Length,
    "numeric_match": NumericMatch,
    "regex": Regex,
    "sentiment": Sentiment,
}
"""Class of every `type` of `RewardSpec`."""


def build_reward(
    spec: RewardSpec, path: str = "reward", resources: RewardResources | None = None
) -> Reward:
    """Build the reward that a specification describes. Starts nothing.

    Args:
        spec: a validated specification.
        path: where it stands in the job; error messages name settings below it.
        resources: what operator and job lend; nothing by default.
    Raises:
        RewardConfigError: no reward of this type is registered, or the operator does not allow it.
    """
    cls = REWARDS.get(spec.type)
    if cls is None:
        known = ", ".join(sorted(REWARDS))
        raise RewardConfigError(
            f"{path}.type is {spec.type!r}, which is not registered; use one of {known}",
            field=f"{path}.type",
        )
    return cls(spec, path, resources)
