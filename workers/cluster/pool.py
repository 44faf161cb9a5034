"""Engines as Ray actors, and the dispatch of work items among them.

Items are assigned as engines have room, so no engine idles while work is left. An engine that dies
or hangs is restarted with the bases and the population of its peers, which continue meanwhile; its
items go back into the queue. An item that keeps failing is returned as failed: its scores are then
missing.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import ray
from numpy.typing import NDArray
from ray.exceptions import GetTimeoutError, RayActorError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from essa.dispatch import queue_limit
from essa.errors import (
    EngineError,
    EngineStartError,
    EngineStoppedError,
    EssaError,
    WorkerLostError,
)
from essa.parametrize.engine_basis import EngineBasis
from essa.parametrize.port import Load
from essa.types import Completion
from reward.machine import usable_cores
from workers.cluster.engine_actor import CONCURRENT_CALLS, EngineActor
from workers.cluster.placement import Placement
from workers.engines.base import EngineHealth, SamplingParameters
from workers.engines.build import EngineBuild
from workers.engines.registry import process_environment

POLL_S = 0.5
START_TIMEOUT_S = 1800.0
"""Longest start of an engine; a 72B checkpoint from a network disk takes a while."""


@dataclass(frozen=True)
class WorkItem:
    """A block of (candidate, prompt) pairs for one engine. `key` is for the caller's use.

    With `answers`, the engine scores them and generates nothing.
    """

    key: int
    candidates: tuple[int, ...]
    prompts: tuple[tuple[int, ...], ...]
    parameters: SamplingParameters
    answers: tuple[tuple[int, ...], ...] | None = None

    @property
    def sequences(self) -> int:
        """Number of sequences that the engine decodes or scores for this item."""
        return len(self.candidates) * self.parameters.samples


@dataclass(frozen=True)
class ItemResult:
    """Completions of an item, or why there are none; engine and times of the last try."""

    item: WorkItem
    completions: list[list[Completion]] | None
    error: str | None = None
    engine: int = 0
    started_s: float = 0.0
    """Time at which the engine got the item, on the machine's monotonic clock."""
    ended_s: float = 0.0


@dataclass
class _Worker:
    index: int
    placement: Placement
    actor: Any = None
    """Actor of the engine; None before `start` and after `close`."""
    starting: Any = None
    """Call that restarts a lost engine; None once the engine has started."""
    start_deadline_s: float = 0.0
    rows: int = 0
    restarts: int = 0
    counting: Any = None
    """Pending call for the number of generated tokens; None if no call is pending."""
    tokens: int = 0


@dataclass
class _Flight:
    item: WorkItem
    attempt: int
    worker: _Worker
    started_s: float
    deadline_s: float

    def result(
        self, completions: list[list[Completion]] | None, error: str | None = None
    ) -> ItemResult:
        """Return the result of the item, ended now."""
        return ItemResult(
            self.item, completions, error, self.worker.index, self.started_s, time.monotonic()
        )


@dataclass
class _Work:
    """Items waiting (with the number of failed tries) and items under way."""

    waiting: deque[tuple[WorkItem, int]]
    unfinished: int
    """Sequences of all items that have no result yet."""
    flying: dict[Any, _Flight] = field(default_factory=dict)

    def finish(self, results: Iterable[ItemResult]) -> Iterator[ItemResult]:
        """Subtract results from `unfinished` and yield them."""
        for result in results:
            self.unfinished -= result.item.sequences
            yield result


class EnginePool:
    """A fixed set of engines.

    Args:
        build: description from which every engine is built.
        placements: one per engine.
        notify: called with one sentence for every engine that is lost and restarted.
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
        self._digest: str | None = None
        """Of the bases that the engines hold."""
        self._scales: Any = None
        self._workers = [_Worker(index, placement) for index, placement in enumerate(placements)]

    @property
    def size(self) -> int:
        """Number of engines."""
        return len(self._workers)

    @property
    def devices(self) -> int:
        """Number of GPUs that the engines hold, or of cores if they hold no GPU."""
        return sum(
            worker.placement.gpus or max(1, len(worker.placement.cores)) for worker in self._workers
        )

    @property
    def capacity(self) -> int:
        """Number of sequences that one engine decodes together."""
        return self._build.spec.capacity

    @property
    def max_population(self) -> int:
        """Number of candidates that the engines can hold at once."""
        return self._build.max_population

    def start(self, on_start: Callable[[int], None] = lambda started: None) -> list[EngineHealth]:
        """Start the engines' processes, a few at a time, then load the model in all in parallel.

        Ray limits the time in which a new process must import its libraries, and a small or busy
        machine meets that limit only for one process at a time. Loading models may take far longer.
        If one engine does not start, the others are stopped too.

        Args:
            on_start: called with the number of engines that have started, as they start.
        Raises:
            EngineStartError: an engine did not start.
        """
        at_once = max(1, len(usable_cores()) // 2)
        try:
            for first in range(0, len(self._workers), at_once):
                some = self._workers[first : first + at_once]
                for worker in some:
                    worker.actor = self._spawn(worker.placement)
                self._all([worker.actor.__ray_ready__.remote() for worker in some])
            return self._load(on_start)
        except BaseException:
            self.close()
            raise

    def _load(self, on_start: Callable[[int], None]) -> list[EngineHealth]:
        """Load the model in every engine; their processes have started."""
        starting = [worker.actor.start.remote() for worker in self._workers]
        deadline_s = time.monotonic() + START_TIMEOUT_S
        waiting = starting
        while waiting:
            left_s = max(0.0, deadline_s - time.monotonic())
            done, waiting = ray.wait(waiting, timeout=left_s)
            # A failed engine ends the others; if none has answered in time, the timeout is raised.
            self._all(done or waiting, timeout_s=0 if not done else START_TIMEOUT_S)
            on_start(len(starting) - len(waiting))
        return self._all(starting)

    def load(self, load: Load) -> None:
        """Give every engine the load: its bases, unless engines hold them, and its population.

        Raises:
            EngineError: a module is unknown to the model, or the load is larger than the engines
                were built for.
            WorkerLostError: an engine died more often than engine.max_restarts allows.
        """
        if load.basis.digest != self._digest:
            self.load_basis(load.basis)
        self.set_population(load.scales_N_S)

    def load_basis(self, basis: EngineBasis) -> None:
        """Install the bases in every engine, which forgets its population; errors as `load`."""
        self._basis, self._scales, self._digest = ray.put(basis), None, None
        self._each(lambda worker: worker.actor.load_basis.remote(self._basis))
        self._digest = basis.digest

    def set_population(self, scales_N_S: NDArray[np.float32]) -> None:
        """Replace the population in every engine; shape (N, S), errors as `load`."""
        self._scales = ray.put(np.ascontiguousarray(scales_N_S, dtype=np.float32))
        self._each(lambda worker: worker.actor.set_population.remote(self._scales))

    def health(self) -> list[EngineHealth]:
        """Return the status of every engine, in the order of the placements.

        Raises:
            EngineStartError: an engine does not answer.
        """
        self._await_starts()
        return self._all([worker.actor.health.remote() for worker in self._workers])

    def generated_tokens(self) -> int:
        """Return the tokens that all engines have generated, as last reported. Does not wait."""
        for worker in self._workers:
            if worker.counting is None and not worker.starting:
                worker.counting = worker.actor.health.remote()
            elif worker.counting is not None and ray.wait([worker.counting], timeout=0)[0]:
                # A lost or busy engine reports nothing; the failure surfaces at the call for work.
                with contextlib.suppress(EssaError, RayError):
                    said = cast("EngineHealth", ray.get(worker.counting))
                    worker.tokens = max(worker.tokens, said.generated_tokens)
                worker.counting = None
        return sum(worker.tokens for worker in self._workers)

    def generate_everywhere(
        self,
        candidates: Sequence[int],
        prompts: Sequence[Sequence[int]],
        parameters: SamplingParameters,
    ) -> list[list[list[Completion]]]:
        """Run the same work on every engine in parallel: one result per engine, see `Engine`.

        Raises:
            EngineError: an engine refused the work.
            WorkerLostError: an engine died more often than engine.max_restarts allows.
        """

        def generate(worker: _Worker) -> Any:
            return worker.actor.generate.remote(candidates, prompts, parameters)

        found = self._each(generate)
        while any(worker.starting for worker in self._workers):
            found = self._each(generate)
        return found

    def run(
        self, items: Sequence[WorkItem], check: Callable[[], None] = lambda: None
    ) -> Iterator[ItemResult]:
        """Yield results as they come, in any order, one per item.

        A run may be abandoned at any time. The engines still finish the items under way, without
        anyone reading the results; the next `set_population` waits for that.

        Args:
            check: called a few times a second; what it raises ends the run.
        Raises:
            WorkerLostError: an engine died more often than engine.max_restarts allows.
            EngineStartError: a lost engine did not start again.
        """
        work = _Work(deque((item, 0) for item in items), sum(item.sequences for item in items))
        for worker in self._workers:
            worker.rows = 0
        while work.waiting or work.flying:
            check()
            self._dispatch(work)
            starting = [worker.starting for worker in self._workers if worker.starting]
            done, _ = ray.wait([*starting, *work.flying], num_returns=1, timeout=POLL_S)
            for reference in done:
                flight = work.flying.pop(reference, None)
                if flight is not None:
                    yield from work.finish(self._land(work, flight, reference))
            self._welcome_started(done)
            yield from work.finish(self._reap_overdue(work))

    def close(self) -> None:
        """End every engine's process. Safe to call twice."""
        for worker in self._workers:
            actor, worker.actor = worker.actor, None
            if actor is not None and ray.is_initialized():
                ray.kill(actor)

    # -- actors -----------------------------------------------------------------------------

    def _spawn(self, placement: Placement) -> Any:
        options: dict[str, Any] = {
            "num_cpus": len(placement.cores) if placement.cores else 1,
            "num_gpus": placement.gpus,
            "max_concurrency": CONCURRENT_CALLS,
            "runtime_env": {"env_vars": process_environment(self._build.spec, placement.cores)},
            # A preference: other jobs may hold the node's devices, or the node may be gone.
            "scheduling_strategy": NodeAffinitySchedulingStrategy(
                placement.node_id, soft=True, _spill_on_unavailable=True
            ),
        }
        return ray.remote(EngineActor).options(**options).remote(self._build, placement.cores)

    def _all(self, references: list[Any], timeout_s: float = START_TIMEOUT_S) -> list[Any]:
        try:
            return ray.get(references, timeout=timeout_s)
        except EssaError as error:
            raise _cause(error) from error
        except GetTimeoutError as error:
            raise EngineStartError(
                f"an engine did not answer within {START_TIMEOUT_S:g} s. On a cluster that other "
                "jobs use too, it may have found no free devices: lower engine.workers, or "
                "ESSA_ENGINE_SLOTS to what the cluster has"
            ) from error
        except RayError as error:
            raise EngineStartError(f"an engine's process failed: {_reason(error)}") from error

    def _each(self, call: Callable[[_Worker], Any]) -> list[Any]:
        """Call every engine and return the answers in order.

        An engine that has died is restarted with bases and population; it is `starting` afterwards
        and has no answer.
        """
        self._await_starts()
        answers = []
        for worker, reference in [(worker, call(worker)) for worker in self._workers]:
            try:
                answers.append(ray.get(reference, timeout=self._build.spec.item_timeout_s))
            except EngineStoppedError as error:
                self._restart(worker, _reason(error))
            except EngineError as error:
                raise _cause(error) from error
            except RayError as error:
                self._restart(worker, _reason(error))
        return answers

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
        worker.counting = None
        worker.starting = worker.actor.start.remote(self._basis, self._scales)
        worker.start_deadline_s = time.monotonic() + START_TIMEOUT_S

    def _await_starts(self) -> None:
        starting = [worker for worker in self._workers if worker.starting]
        self._all([worker.starting for worker in starting])
        for worker in starting:
            worker.starting = None

    def _welcome_started(self, done: Sequence[Any]) -> None:
        for worker in self._workers:
            if worker.starting in done:
                self._all([worker.starting])
                worker.starting = None
            elif worker.starting and time.monotonic() > worker.start_deadline_s:
                raise EngineStartError(
                    f"engine {worker.index} was lost and did not start again within "
                    f"{START_TIMEOUT_S:g} s"
                )

    # -- dispatch ---------------------------------------------------------------------------

    def _dispatch(self, work: _Work) -> None:
        ready = [worker for worker in self._workers if not worker.starting]
        while work.waiting and ready:
            worker = min(ready, key=lambda one: one.rows)
            item, attempt = work.waiting[0]
            rows = item.sequences
            limit = queue_limit(self.capacity, len(ready), unfinished=work.unfinished, item=rows)
            if worker.rows and worker.rows + rows > limit:
                return
            work.waiting.popleft()
            reference = _send(worker, item)
            worker.rows += rows
            now_s = time.monotonic()
            deadline_s = now_s + self._build.spec.item_timeout_s
            work.flying[reference] = _Flight(item, attempt, worker, now_s, deadline_s)

    def _land(self, work: _Work, flight: _Flight, reference: Any) -> Iterator[ItemResult]:
        flight.worker.rows -= flight.item.sequences
        try:
            completions = ray.get(reference)
        except (RayActorError, EngineStoppedError) as error:
            yield from self._recover(work, flight, _reason(error))
        except (EngineError, RayError) as error:
            yield from self._retry(work, flight, _reason(error))
        else:
            yield flight.result(completions)

    def _reap_overdue(self, work: _Work) -> Iterator[ItemResult]:
        now_s = time.monotonic()
        overdue = [key for key, flight in work.flying.items() if now_s > flight.deadline_s]
        # If the caller was slow to take the last result, others have finished in the meantime.
        finished = ray.wait(overdue, num_returns=len(overdue), timeout=0)[0] if overdue else []
        for reference in overdue:
            if reference not in finished and reference in work.flying:
                flight = work.flying.pop(reference)
                limit = self._build.spec.item_timeout_s
                reason = f"a work item took longer than engine.item_timeout_s {limit:g}"
                yield from self._recover(work, flight, reason)

    def _recover(self, work: _Work, flight: _Flight, reason: str) -> Iterator[ItemResult]:
        """Restart the engine; its other items go back into the queue with no failed try counted."""
        for reference, other in list(work.flying.items()):
            if other.worker is flight.worker:
                del work.flying[reference]
                work.waiting.appendleft((other.item, other.attempt))
        self._restart(flight.worker, reason)
        yield from self._retry(work, flight, reason)

    def _retry(self, work: _Work, flight: _Flight, reason: str) -> Iterator[ItemResult]:
        if flight.attempt >= self._build.spec.max_retries:
            yield flight.result(None, reason)
        else:
            work.waiting.append((flight.item, flight.attempt + 1))


def _send(worker: _Worker, item: WorkItem) -> Any:
    if item.answers is None:
        return worker.actor.generate.remote(item.candidates, item.prompts, item.parameters)
    return worker.actor.score.remote(item.candidates, item.prompts, item.answers)


def _cause(error: BaseException) -> BaseException:
    """Return the error as the engine's process raised it; Ray's own shows a whole traceback."""
    return getattr(error, "cause", None) or error


def _reason(error: BaseException) -> str:
    cause = _cause(error)
    text = str(cause).strip()
    return text.splitlines()[0] if text else type(cause).__name__
