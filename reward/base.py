"""The reward port: a batch of completions in, one result per completion out."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from reward.errors import RewardError

NaN = float("nan")


@dataclass(frozen=True)
class RewardResult:
    """The score of one completion; higher is better.

    `value` is finite, or NaN where the score is missing; `error` then says why. `components` has
    one entry for each of `Reward.component_names`, NaN where that part is missing.
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
        """True where there is no score."""
        return math.isnan(self.value)


class Reward(ABC):
    """Scores completions. Stateless once built: safe to call from several threads.

    Args:
        path: where this reward stands in the job, for messages: `reward.components[1].reward`.
    """

    def __init__(self, path: str = "reward") -> None:
        self.path = path

    @property
    def component_names(self) -> tuple[str, ...]:
        """Names under which every result carries its parts; empty for a simple reward."""
        return ()

    @abstractmethod
    def score(
        self, completions: Sequence[str], rows: Sequence[Mapping[str, Any]]
    ) -> list[RewardResult]:
        """Score a batch. Deterministic; inputs are not modified.

        An item that cannot be scored is a missing result with an error message, never an
        exception and never 0.

        Args:
            completions: what the model answered, without the prompt.
            rows: the data row of each completion, as the user wrote it.
        Returns:
            One result per completion, in order.
        Raises:
            RewardError: the two sequences differ in length.
        """

    def check_row(self, columns: Mapping[str, Any]) -> None:
        """Check that this row has what the reward reads, so that a job fails before any rollout.

        Raises:
            RewardConfigError: a column is missing or unusable; names the column and the setting.
        """
        return None


class ItemReward(Reward):
    """A reward that looks at one completion at a time: subclasses give `_score_item`."""

    @abstractmethod
    def _score_item(self, completion: str, row: Mapping[str, Any]) -> float:
        """Score one completion; any exception makes this item missing."""

    def score(
        self, completions: Sequence[str], rows: Sequence[Mapping[str, Any]]
    ) -> list[RewardResult]:
        check_lengths(completions, rows)
        return [self._result(text, row) for text, row in zip(completions, rows, strict=True)]

    def _result(self, completion: str, row: Mapping[str, Any]) -> RewardResult:
        if not isinstance(completion, str):
            kind = type(completion).__name__
            return RewardResult(NaN, error=f"{self.path}: the completion is {kind}, not text")
        try:
            return RewardResult(float(self._score_item(completion, row)))
        except RewardError as error:
            return RewardResult(NaN, error=error.message)
        # The boundary of one item: an unforeseen failure here must not take the batch with it,
        # and the message travels on with the missing score.
        except Exception as error:
            message = f"{self.path}: unexpected {type(error).__name__}: {error}"
            return RewardResult(NaN, error=message)


def check_lengths(completions: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Refuse a batch in which completions and rows cannot be paired.

    Raises:
        RewardError: the lengths differ.
    """
    if len(completions) != len(rows):
        raise RewardError(
            f"{len(completions)} completions came with {len(rows)} rows; "
            "give the row of each completion",
            completions=len(completions),
            rows=len(rows),
        )
