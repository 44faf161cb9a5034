"""One engine as the simulation sees it: sequences decoded together, the next one when one ends."""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from essa.plan.engine_speed import EngineSpeed


class _Saved(NamedTuple):
    now_s: float
    step: float
    active: list[tuple[float, int]]
    waiting: list[tuple[int, int]]
    left: dict[int, int]


class SimulatedEngine:
    """Decodes the sequences of the items that it was given.

    All active sequences advance by one token a step, so one counter of steps serves them all. An
    engine runs ahead to its next landing; what happens to it before then takes it back.

    Args:
        capacity: sequences decoded together; others wait inside.
        now_s: its clock at the start.
    """

    def __init__(self, speed: EngineSpeed, capacity: int, now_s: float = 0.0) -> None:
        self._speed = speed
        self._capacity = capacity
        self._step = 0.0
        self._active: list[tuple[float, int]] = []
        self._waiting: deque[tuple[int, int]] = deque()
        self._left: dict[int, int] = {}
        self._saved: _Saved | None = None
        self.now_s = now_s

    def give(self, key: int, lengths: Sequence[int], at_s: float) -> None:
        """Hand it an item at a time before its next landing.

        Args:
            lengths: tokens of each of the item's answers, 1 at least.
        """
        self._take_back(at_s)
        self._left[key] = len(lengths)
        for length in lengths:
            if len(self._active) < self._capacity:
                self._begin(length, key)
            else:
                self._waiting.append((length, key))

    def run_ahead(self) -> tuple[float, int] | None:
        """When its next item is done, and which; None where it has nothing to do."""
        self._saved = _Saved(
            self.now_s, self._step, self._active[:], [*self._waiting], self._left.copy()
        )
        key = self._run(math.inf)
        return None if key is None else (self.now_s, key)

    def land(self) -> None:
        """Accept the landing that it ran ahead to."""
        self._saved = None

    def _take_back(self, at_s: float) -> None:
        if self._saved is not None:
            self.now_s, self._step, self._active, waiting, self._left = self._saved
            self._waiting, self._saved = deque(waiting), None
        self._run(at_s)

    def _begin(self, length: int, key: int) -> None:
        self.now_s += self._speed.prompt_s
        heapq.heappush(self._active, (self._step + length, key))

    def _run(self, until_s: float) -> int | None:
        """Go on until an item is done, and tell which, or until a time."""
        active, left = self._active, self._left
        while active:
            end, key = active[0]
            step_s = self._speed.step_s + len(active) * self._speed.sequence_s
            end_s = self.now_s + (end - self._step) * step_s
            if end_s >= until_s:
                if until_s > self.now_s:
                    self._step += (until_s - self.now_s) / step_s
                    self.now_s = until_s
                return None
            heapq.heappop(active)
            self.now_s, self._step = end_s, end
            if self._waiting:
                self._begin(*self._waiting.popleft())
            left[key] -= 1
            if not left[key]:
                del left[key]
                return key
        if until_s < math.inf:
            self.now_s = max(self.now_s, until_s)
        return None
