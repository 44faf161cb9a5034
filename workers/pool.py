"""Engines as Ray actors, and the dispatch of work items among them.

Items are given out as engines have room, so none idles while work is left. An engine that dies or
hangs is started again with the bases and the population of its peers; its items go back into the
queue. An item that keeps failing comes back as failed: its scores are then missing.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray
from ray.exceptions import RayActorError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from essa.errors import (
    EngineError,
    EngineStartError,
    EngineStoppedError,
    EssaError,
    WorkerLostError,
)
from essa.parametrize.engine_basis import EngineBasis
from essa.types import Completion
from workers.actor import CONCURRENT_CALLS, EngineActor
from workers.engines.base import EngineHealth, SamplingParameters
from workers.engines.build import EngineBuild, process_environment
from workers.placement import Placement

POLL_S = 0.5
QUEUE_FACTOR = 1.25
"""Sequences handed to an engine, as a multiple of what it decodes together: the next item is there
when a sequence ends."""
START_TIMEOUT_S = 1800.0
"""Longest start of an engine; a 72B checkpoint from a network disk takes a while."""


@dataclass(frozen=True)
class WorkItem:
    """A block of (candidate, prompt) pairs for one engine. `key` is the caller's."""

    key: int
    candidates: tuple[int, ...]
    prompts: tuple[tuple[int, ...], ...]
    parameters: SamplingParameters


@dataclass(frozen=True)
class ItemResult:
    """Completions of an item, or why there are none."""

    item: WorkItem
    completions: list[list[Completion]] | None
    error: str | None = None


@dataclass
class _Worker:
    index: int
    placement: Placement
    actor: Any
    rows: int = 0
    restarts: int = 0


@dataclass
class _Flight:
    item: WorkItem
    attempt: int
    worker: _Worker
    deadline_s: float


@dataclass
class _Work:
    """Items waiting (with the number of failed tries) and items under way."""

    waiting: deque[tuple[WorkItem, int]]
    flying: dict[Any, _Flight] = field(default_factory=dict)


class EnginePool:
    """A fixed set of engines.

    Args:
        build: what every engine is built from.
        placements: one per engine.
        notify: gets one sentence for every engine that is lost or started again.
    """

    def __init__(
        self,
        build: EngineBuild,
        placements: Sequence[Placement],
        notify: Callable[[str], None] = lambda message: None,
    ) -> None:
        self._build = build
        self._notify = notify
        self._basis: Any = None
        self._scales: Any = None
        self._workers = [
            _Worker(index, placement, self._spawn(placement))
            for index, placement in enumerate(placements)
        ]

    @property
    def size(self) -> int:
        """Number of engines."""
        return len(self._workers)

    @property
    def capacity(self) -> int:
        """Sequences one engine decodes together."""
        return self._build.capacity

    @property
    def max_population(self) -> int:
        """Candidates the engines can hold at once."""
        return self._build.max_population

    def start(self) -> list[EngineHealth]:
        """Load the model in every engine, side by side.

        Raises:
            EngineStartError: an engine did not start.
        """
        return self._all([worker.actor.start.remote() for worker in self._workers])

    def load_basis(self, basis: EngineBasis) -> None:
        """Install the bases in every engine."""
        self._basis, self._scales = ray.put(basis), None
        self._all([worker.actor.load_basis.remote(self._basis) for worker in self._workers])

    def set_population(self, scales_N_S: NDArray[np.float32]) -> None:
        """Replace the population in every engine."""
        self._scales = ray.put(np.ascontiguousarray(scales_N_S, dtype=np.float32))
        self._each(lambda worker: worker.actor.set_population.remote(self._scales))

    def run(
        self, items: Sequence[WorkItem], check: Callable[[], None] = lambda: None
    ) -> Iterator[ItemResult]:
        """Yield results as they come, in any order, one per item.

        Args:
            check: called a few times a second; what it raises ends the run.
        Raises:
            WorkerLostError: an engine died more often than engine.max_restarts allows.
        """
        work = _Work(deque((item, 0) for item in items))
        for worker in self._workers:
            worker.rows = 0
        while work.waiting or work.flying:
            check()
            self._dispatch(work)
            done, _ = ray.wait(list(work.flying), num_returns=1, timeout=POLL_S)
            for reference in done:
                flight = work.flying.pop(reference, None)
                if flight is not None:
                    yield from self._land(work, flight, reference)
            yield from self._reap_overdue(work)

    def close(self) -> None:
        """End every engine's process."""
        for worker in self._workers:
            ray.kill(worker.actor)

    # -- actors -----------------------------------------------------------------------------

    def _spawn(self, placement: Placement) -> Any:
        options: dict[str, Any] = {
            "num_cpus": len(placement.cores) if placement.cores else 1,
            "num_gpus": placement.gpus,
            "max_concurrency": CONCURRENT_CALLS,
            "runtime_env": {"env_vars": process_environment(self._build.spec, placement.cores)},
            "scheduling_strategy": NodeAffinitySchedulingStrategy(placement.node_id, soft=False),
        }
        return ray.remote(EngineActor).options(**options).remote(self._build, placement.cores)

    def _all(self, references: list[Any]) -> list[Any]:
        try:
            return ray.get(references, timeout=START_TIMEOUT_S)
        except EssaError:
            raise
        except RayError as error:
            raise EngineStartError(f"an engine's process failed: {_first_line(error)}") from error

    def _each(self, call: Callable[[_Worker], Any]) -> None:
        """Make a call on every engine; one that has died is started again, which repeats it."""
        for worker, reference in [(worker, call(worker)) for worker in self._workers]:
            try:
                ray.get(reference, timeout=self._build.spec.item_timeout_s)
            except EngineError:
                raise
            except RayError as error:
                self._restart(worker, _first_line(error))

    def _restart(self, worker: _Worker, reason: str) -> None:
        limit = self._build.spec.max_restarts
        if worker.restarts >= limit:
            raise WorkerLostError(
                f"engine {worker.index} failed {worker.restarts + 1} times, last with: {reason}. "
                f"engine.max_restarts is {limit}"
            )
        worker.restarts += 1
        self._notify(f"engine {worker.index} was lost ({reason}); starting it again")
        ray.kill(worker.actor)
        worker.actor, worker.rows = self._spawn(worker.placement), 0
        self._all([worker.actor.start.remote()])
        if self._basis is not None:
            self._all([worker.actor.load_basis.remote(self._basis)])
        if self._scales is not None:
            self._all([worker.actor.set_population.remote(self._scales)])

    # -- dispatch ---------------------------------------------------------------------------

    def _dispatch(self, work: _Work) -> None:
        limit = self.capacity * QUEUE_FACTOR
        while work.waiting:
            worker = min(self._workers, key=lambda one: one.rows)
            item, attempt = work.waiting[0]
            rows = len(item.candidates) * item.parameters.samples
            if worker.rows and worker.rows + rows > limit:
                return
            work.waiting.popleft()
            reference = worker.actor.generate.remote(item.candidates, item.prompts, item.parameters)
            worker.rows += rows
            deadline_s = time.monotonic() + self._build.spec.item_timeout_s
            work.flying[reference] = _Flight(item, attempt, worker, deadline_s)

    def _land(self, work: _Work, flight: _Flight, reference: Any) -> Iterator[ItemResult]:
        flight.worker.rows -= len(flight.item.candidates) * flight.item.parameters.samples
        try:
            yield ItemResult(flight.item, ray.get(reference))
        except (RayActorError, EngineStoppedError) as error:
            yield from self._recover(work, flight, _first_line(error))
        except (EngineError, RayError) as error:
            yield from self._retry(work, flight, _first_line(error))

    def _reap_overdue(self, work: _Work) -> Iterator[ItemResult]:
        now_s = time.monotonic()
        for reference, flight in list(work.flying.items()):
            if now_s > flight.deadline_s and reference in work.flying:
                del work.flying[reference]
                limit = self._build.spec.item_timeout_s
                reason = f"a work item took longer than engine.item_timeout_s {limit:g}"
                yield from self._recover(work, flight, reason)

    def _recover(self, work: _Work, flight: _Flight, reason: str) -> Iterator[ItemResult]:
        """Start the engine again; what else it had under way goes back without blame."""
        for reference, other in list(work.flying.items()):
            if other.worker is flight.worker:
                del work.flying[reference]
                work.waiting.appendleft((other.item, other.attempt))
        self._restart(flight.worker, reason)
        yield from self._retry(work, flight, reason)

    def _retry(self, work: _Work, flight: _Flight, reason: str) -> Iterator[ItemResult]:
        if flight.attempt >= self._build.spec.max_retries:
            yield ItemResult(flight.item, None, reason)
        else:
            work.waiting.append((flight.item, flight.attempt + 1))


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
