"""Event simulation of a population's rollouts on many engines, with stragglers and failures.

Scheduling is that of the real pool (`workers/cluster/pool.py`): blocks of one candidate wait in a
queue, an engine with room takes the next one, and an engine that dies is restarted while its items
return to the queue. A generation ends with its last item, so the slowest engine determines its
length, not the average one.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from essa.dispatch import plan_blocks, queue_limit
from essa.plan.engine_speed import EngineSpeed
from essa.plan.simulated_engine import SimulatedEngine
from essa.types import FloatArray

Item = tuple[int, ...]
"""Tokens of each answer of a work item."""


@dataclass(frozen=True)
class Fleet:
    """Speed and failures of engines.

    Attributes:
        speed: speed of a typical engine.
        capacity: number of sequences that one engine decodes together.
        slowness: factors on an engine's times; one is drawn per engine and generation.
        failures_per_h: failures per hour of a busy engine; its items start again elsewhere.
        restart_s: seconds until a dead engine works again. The next generation waits for it.
        max_retries: number of engine losses blamed on an item before its scores are missing.
        overhead_s: seconds per generation without engine work: update, new population.
    """

    speed: EngineSpeed
    capacity: int
    slowness: tuple[float, ...] = (1.0,)
    failures_per_h: float = 0.0
    restart_s: float = 60.0
    max_retries: int = 2
    overhead_s: float = 0.0


@dataclass(frozen=True)
class Simulated:
    """Result of a simulation.

    Attributes:
        seconds: seconds of every generation, shape (generations,).
        busy_s: engine-seconds with work, over all engines and generations.
        items: number of items in one generation.
        restarts: number of engines that died.
        missing: number of items that were given up.
    """

    seconds: FloatArray
    busy_s: float
    items: int
    restarts: int
    missing: int


def simulate(
    fleet: Fleet,
    engines: int,
    *,
    population: int,
    batch: int,
    lengths: Sequence[int],
    generations: int = 1,
    seed: int = 0,
) -> Simulated:
    """Simulate generations of N candidates on P prompts each.

    Args:
        fleet: speed and failures of the engines.
        engines: number of engines.
        population, batch: N and P.
        lengths: measured or made-up answer lengths in tokens, to draw from. The draws depend on
            the seed alone, so fleets of all sizes get the same work.
    """
    blocks = plan_blocks(range(population), batch, engines=engines, capacity=fleet.capacity)
    seconds = np.zeros(generations)
    busy_s, restarts, missing = 0.0, 0, 0
    for generation in range(generations):
        drawing = np.random.default_rng([seed, generation, 0])
        tokens_N_P = drawing.choice(np.asarray(lengths), (population, batch)).tolist()
        items = [tuple(tokens_N_P[one.row][one.start : one.stop]) for one in blocks]
        found = run_items(fleet, engines, items, np.random.default_rng([seed, generation, 1]))
        seconds[generation] = found.seconds
        busy_s += found.busy_s
        restarts += found.restarts
        missing += found.missing
    return Simulated(seconds, busy_s, len(blocks), restarts, missing)


@dataclass
class Generation:
    """Result of one simulated generation; see `Simulated`."""

    seconds: float = 0.0
    busy_s: float = 0.0
    restarts: int = 0
    missing: int = 0


def run_items(
    fleet: Fleet, engines: int, items: Sequence[Item], rng: np.random.Generator
) -> Generation:
    """Simulate one generation of the given items, handed out in order."""
    return _Pool(fleet, engines, items, rng).run()


@dataclass
class _Worker:
    engine: SimulatedEngine
    speed: EngineSpeed
    flights: dict[int, int] = field(default_factory=dict)
    """Number of losses blamed on each item in progress, by item, oldest first."""
    landing: int = 0
    """Item that ends next."""
    events: int = 0
    """Number of the worker's newest event; older events in the queue are void."""
    fails_s: float = np.inf
    busy_since_s: float = 0.0


class _Pool:
    """Engines and queue of one generation."""

    def __init__(
        self, fleet: Fleet, engines: int, items: Sequence[Item], rng: np.random.Generator
    ) -> None:
        self._fleet, self._items, self._rng = fleet, items, rng
        self._workers: list[_Worker] = []
        for factor in rng.choice(fleet.slowness, engines):
            speed = fleet.speed.slower(float(factor))
            self._workers.append(_Worker(SimulatedEngine(speed, fleet.capacity), speed))
        self._rows = np.zeros(engines)
        """Number of sequences on each engine; infinite while an engine restarts."""
        self._waiting = deque((key, 0) for key in range(len(items)))
        self._unfinished = sum(map(len, items))
        self._events: list[tuple[float, int, int]] = []
        self._starting: list[tuple[float, int]] = []
        self._found = Generation()

    def run(self) -> Generation:
        end_s = 0.0
        self._dispatch(end_s)
        while self._events or self._starting:
            if not self._events or (self._starting and self._starting[0][0] <= self._events[0][0]):
                now_s, index = heapq.heappop(self._starting)
                self._rows[index] = 0
                # The next population is set only once every engine is back.
                end_s = max(end_s, now_s)
            else:
                now_s, index, number = heapq.heappop(self._events)
                worker = self._workers[index]
                if number != worker.events:
                    continue
                end_s = max(end_s, now_s)
                if now_s >= worker.fails_s:
                    self._fail(index, now_s)
                else:
                    self._land(index, now_s)
            self._dispatch(now_s)
        self._found.seconds = end_s + self._fleet.overhead_s
        return self._found

    def _dispatch(self, now_s: float) -> None:
        changed: dict[int, None] = {}
        while self._waiting:
            index = int(self._rows.argmin())
            key, losses = self._waiting[0]
            rows = len(self._items[key])
            has = self._rows[index]
            limit = queue_limit(
                self._fleet.capacity,
                int(np.isfinite(self._rows).sum()),
                unfinished=self._unfinished,
                item=rows,
            )
            if np.isinf(has) or (has and has + rows > limit):
                break
            self._waiting.popleft()
            self._give(index, key, losses, now_s)
            changed[index] = None
        for index in changed:
            self._look_ahead(index)

    def _give(self, index: int, key: int, losses: int, now_s: float) -> None:
        worker = self._workers[index]
        if not worker.flights:
            worker.busy_since_s = now_s
            if self._fleet.failures_per_h:
                # Failures are memoryless, so earlier work of the engine does not matter.
                worker.fails_s = now_s + self._rng.exponential(3600 / self._fleet.failures_per_h)
        worker.flights[key] = losses
        self._rows[index] += len(self._items[key])
        worker.engine.give(key, self._items[key], now_s)

    def _look_ahead(self, index: int) -> None:
        worker = self._workers[index]
        landing = worker.engine.run_ahead()
        worker.events += 1
        if landing is not None:
            at_s = min(landing[0], worker.fails_s)
            worker.landing = landing[1]
            heapq.heappush(self._events, (at_s, index, worker.events))

    def _land(self, index: int, now_s: float) -> None:
        worker = self._workers[index]
        worker.engine.land()
        del worker.flights[worker.landing]
        self._rows[index] -= len(self._items[worker.landing])
        self._unfinished -= len(self._items[worker.landing])
        if not worker.flights:
            self._rest(worker, now_s)
        self._look_ahead(index)

    def _fail(self, index: int, now_s: float) -> None:
        worker = self._workers[index]
        (blamed, losses), *others = worker.flights.items()
        self._waiting.extendleft(others)
        if losses < self._fleet.max_retries:
            self._waiting.append((blamed, losses + 1))
        else:
            self._found.missing += 1
            self._unfinished -= len(self._items[blamed])
        self._rest(worker, now_s)
        self._found.restarts += 1
        back_s = now_s + self._fleet.restart_s
        worker.engine = SimulatedEngine(worker.speed, self._fleet.capacity, back_s)
        worker.flights, worker.events = {}, worker.events + 1
        self._rows[index] = np.inf
        heapq.heappush(self._starting, (back_s, index))

    def _rest(self, worker: _Worker, now_s: float) -> None:
        self._found.busy_s += now_s - worker.busy_since_s
        worker.fails_s = np.inf
