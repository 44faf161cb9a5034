"""Resources that the operator and the job lend to rewards; by default none that could do harm."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from reward.base import Reward
    from reward.spec import RewardSpec


@dataclass(frozen=True)
class RewardPolicy:
    """Permissions that the operator of the service gives to rewards. Never part of a job.

    Attributes:
        allow_python: rewards of type `python` may run.
        allow_model_code: `reward_model` may run the Python code that comes with a model.
        allowed_hosts: hosts that `judge` and `remote` may call: `scores.example.org`, with a port
            `localhost:9000`, or all names under one, `*.example.org`. Empty forbids all.
        allow_private_hosts: allowed hosts may resolve to private and loopback addresses.
        secrets: values that a reward may use by name, such as API keys; a specification holds
            names only.
    """

    allow_python: bool = False
    allow_model_code: bool = False
    allowed_hosts: tuple[str, ...] = ()
    allow_private_hosts: bool = False
    secrets: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)


NOTHING_ALLOWED = RewardPolicy()


class TextScorer(ABC):
    """Scores conversations with a model in another process. Safe to use from several threads."""

    @abstractmethod
    def score(self, conversations: Sequence[Sequence[Mapping[str, str]]]) -> list[float | str]:
        """Score every conversation, whose last message is the answer.

        Returns:
            For each conversation its score, or the reason why it has none.
        """

    @abstractmethod
    def close(self) -> None:
        """Free the model. Safe to call twice."""


class BuildReward(Protocol):
    """Builds the reward of a specification, as `reward.registry.build_reward` does."""

    def __call__(self, spec: RewardSpec, path: str, resources: RewardResources) -> Reward[Any]: ...


def _no_build(spec: RewardSpec, path: str, resources: RewardResources) -> Reward[Any]:
    """Refuse to build: the default if no builder was lent.

    Raises:
        TypeError: always; a reward that contains others was made without the registry.
    """
    raise TypeError(
        f"the reward at {path} stands inside another, which was not made by "
        "reward.registry.build_reward; make the outer one with it"
    )


@dataclass(frozen=True)
class RewardResources:
    """Resources lent to a reward when it is built.

    Attributes:
        policy: permissions given by the operator.
        open_scorer: starts the model of a `reward_model` specification; None if models cannot be
            started, as in a process that only checks specifications.
        build: builds the rewards inside a reward; `build_reward` lends itself.
    """

    policy: RewardPolicy = NOTHING_ALLOWED
    open_scorer: Callable[[Any], TextScorer] | None = None
    build: BuildReward = _no_build
