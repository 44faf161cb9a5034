"""The reward port: the answers of one candidate in, one result per answer out."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, cast

from reward.errors import RewardError
from reward.resources import RewardResources
from reward.sample import Need, Sample

NaN = float("nan")

Spec = TypeVar("Spec")
Value = TypeVar("Value")


@dataclass(frozen=True)
class RewardResult:
    """The score of one completion; higher is better.

    `value` is finite, or NaN if the score is missing; `error` then says why. `components` has one
    entry for each of `Reward.component_names`, NaN if that part is missing.
    """

    value: float
    components: dict[str, float] = field(default_factory=dict)
    error: str | None = None

    def __post_init__(self) -> None:
        if self.error is not None and not math.isnan(self.value):
            raise ValueError(f"a result with an error has no value, but this one has {self.value}")
        if not math.isfinite(self.value):
            reason = self.error or f"the reward came out as {self.value}, not a finite number"
            object.__setattr__(self, "value", NaN)
            object.__setattr__(self, "error", reason)

    @property
    def missing(self) -> bool:
        """True if the completion has no score."""
        return math.isnan(self.value)


class Reward(ABC, Generic[Spec]):
    """Scores completions. Safe to call from several threads.

    Building a reward is cheap and starts nothing, so that a specification can be checked anywhere;
    the resources for scoring are opened at the first sample.

    Args:
        spec: the validated specification.
        path: path of this reward in the job, for messages, such as `reward.components[1].reward`.
        resources: what the operator and the job lend.
    Raises:
        RewardConfigError: the operator does not allow this reward.
    """

    def __init__(
        self, spec: Spec, path: str = "reward", resources: RewardResources | None = None
    ) -> None:
        self.spec = spec
        self.path = path
        self.resources = resources or RewardResources()

    @property
    def component_names(self) -> tuple[str, ...]:
        """Names under which every result carries its parts; empty for a simple reward."""
        return ()

    @property
    def needs(self) -> frozenset[Need]:
        """Data that samples must carry beyond their text."""
        return frozenset()

    @property
    def is_batch(self) -> bool:
        """True if the score of a sample depends on the other samples of its batch."""
        return False

    @abstractmethod
    def score(self, samples: Sequence[Sample]) -> list[RewardResult]:
        """Score all answers that one candidate gave to one batch of prompts.

        The fitness of the candidate is the mean of the results. An item that cannot be scored is a
        missing result with an error message, never an exception and never 0.

        Returns:
            One result per sample, in order.
        """

    def check_row(self, columns: Mapping[str, Any]) -> None:
        """Check that a row has what the reward reads: a bad row fails the job before any rollout.

        Raises:
            RewardConfigError: a column is missing or unusable; names the column and the setting.
        """
        return None

    def costs(self) -> dict[str, dict[str, float | None]]:
        """Return usage of external services so far, by the path of the reward that caused it."""
        return {}

    def close(self) -> None:
        """Free what scoring opened. Safe to call twice."""
        return None


class ItemReward(Reward[Spec]):
    """A reward that looks at one sample at a time: subclasses implement `_score_item`."""

    @abstractmethod
    def _score_item(self, sample: Sample) -> float:
        """Score one sample; any exception makes this item missing."""

    def score(self, samples: Sequence[Sample]) -> list[RewardResult]:
        return [self._result(sample) for sample in samples]

    def _result(self, sample: Sample) -> RewardResult:
        return attempt(self.path, sample, lambda item: RewardResult(float(self._score_item(item))))


def text_fault(path: str, sample: Sample) -> str | None:
    """Return why the completion cannot be read as text, or None if it can.

    Args:
        path: path of the reward, for the message.
    """
    # Callers outside this package may pass anything, whatever the annotation promises.
    completion = cast(object, sample.completion)
    if isinstance(completion, str):
        return None
    return f"{path}: the completion is {type(completion).__name__}, not text"


def attempt(path: str, sample: Sample, read: Callable[[Sample], Value]) -> Value | RewardResult:
    """Return `read(sample)`, or a missing result if `read` fails.

    Args:
        path: path of the reward, for the message.
    """
    fault = text_fault(path, sample)
    if fault is not None:
        return RewardResult(NaN, error=fault)
    try:
        return read(sample)
    except RewardError as error:
        return RewardResult(NaN, error=error.message)
    # The boundary of one item: an unforeseen failure here must not fail the whole batch; the
    # message goes into the missing result.
    except Exception as error:
        return RewardResult(NaN, error=f"{path}: unexpected {type(error).__name__}: {error}")
