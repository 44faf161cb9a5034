"""Simulated engine with continuous batching: a waiting sequence starts when another one ends."""

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
    """Decodes the sequences of the given items.

    All active sequences advance by one token per step, so one step counter serves them all. The
    engine runs ahead to its next landing (the end of an item); an event before then rolls it back.

    Args:
        speed: speed of the engine.
        capacity: number of sequences decoded together; further ones wait in the engine.
        now_s: initial time of the engine's clock.
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
        """Give the engine an item at a time before its next landing.

        Args:
            key: number of the item.
            lengths: tokens of each of the item's answers, at least 1.
            at_s: time of the handover.
        """
        self._take_back(at_s)
        self._left[key] = len(lengths)
        for length in lengths:
            if len(self._active) < self._capacity:
                self._begin(length, key)
            else:
                self._waiting.append((length, key))

    def run_ahead(self) -> tuple[float, int] | None:
        """Run to the next landing and return its time and item; None if the engine is idle."""
        self._saved = _Saved(
            self.now_s, self._step, self._active[:], [*self._waiting], self._left.copy()
        )
        key = self._run(math.inf)
        return None if key is None else (self.now_s, key)

    def land(self) -> None:
        """Accept the landing to which the engine ran ahead."""
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
        """Run until an item ends and return its key, or until a time and return None."""
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
