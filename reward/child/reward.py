"""The base of rewards that score in child processes."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from reward.base import NaN, Reward, RewardResult, Spec, attempt
from reward.child.limits import ChildLimits
from reward.child.pool import Answer, ChildPool
from reward.child.process import Program
from reward.errors import RewardError
from reward.resources import RewardResources
from reward.sample import Sample


class ChildReward(Reward[Spec]):
    """Scores in child processes: subclasses implement `_program` and `_limits`.

    The children are started at the first item. `reward.child` says how they are contained.
    """

    max_retries = 0

    def __init__(
        self, spec: Spec, path: str = "reward", resources: RewardResources | None = None
    ) -> None:
        super().__init__(spec, path, resources)
        self._lock = threading.Lock()
        self._pool: ChildPool | None = None

    @abstractmethod
    def _program(self) -> Program:
        """Return the program that the children run."""

    @abstractmethod
    def _limits(self) -> ChildLimits:
        """Return the limits of the children."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes on containment that the kernel refused; empty before the first item."""
        pool = self._pool
        return pool.notes if pool else ()

    @property
    def children(self) -> ChildPool:
        """Pool of child processes. Opened at the first use, and again after `close`."""
        with self._lock:
            if self._pool is None:
                self._pool = ChildPool(
                    self._program(), self._limits(), self.path, max_retries=self.max_retries
                )
            return self._pool

    def close(self) -> None:
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()

    def _score_each(
        self,
        samples: Sequence[Sample],
        item: Callable[[Sample], Any],
        read: Callable[[Any], RewardResult],
    ) -> list[RewardResult]:
        """Score samples independently of each other, several at once.

        Args:
            item: function from a sample to the item that a child gets.
            read: function from the child's answer to the result.
        """
        items = [attempt(self.path, sample, item) for sample in samples]
        good = [entry for entry in items if not isinstance(entry, RewardResult)]
        answers = iter(self.children.map(good)) if good else iter(())
        return [
            entry if isinstance(entry, RewardResult) else self._read(next(answers), read)
            for entry in items
        ]

    def _read(
        self, answer: Answer | RewardError, read: Callable[[Any], RewardResult]
    ) -> RewardResult:
        if isinstance(answer, RewardError):
            return RewardResult(NaN, error=answer.message)
        try:
            return read(answer.value)
        # The value comes from a process that runs code that is not ours.
        except (TypeError, ValueError, LookupError, OverflowError) as error:
            return RewardResult(NaN, error=f"{self.path}: unreadable answer of a child: {error}")
