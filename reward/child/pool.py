"""A few child processes that score items for all threads of a reward."""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

from reward.child.frame import pack
from reward.child.limits import ChildLimits
from reward.child.process import Child, ChildDied, LimitReached, Program
from reward.errors import RewardError, RewardTimeoutError
from reward.machine import usable_cores

MAX_CHILDREN = 4
RECYCLE_ITEMS = 2000
"""Items after which a child is replaced, to free what it has accumulated."""
MAX_LOAD_FAILURES = 3
"""Failed starts in a row after which no more are tried: the program is at fault."""
LONGEST_SHARED_S = 60.0

logger = logging.getLogger(__name__)


class Answer(NamedTuple):
    """A child's answer to one item."""

    value: Any
    output: str


class ChildPool:
    """Scores items in at most `size` children at once, from any number of threads.

    Children are started when there is an item for them and kept for the next ones. The pool ends
    them when it is closed, when nothing refers to it any more, and when the service ends.

    Args:
        program: program that every child runs.
        limits: limits of every child.
        path: path of the reward, for messages.
        max_retries: retries of an item whose child died; exceeded limits are not retried.
        size: largest number of children; None is one per core, at most `MAX_CHILDREN`.
    """

    def __init__(
        self,
        program: Program,
        limits: ChildLimits,
        path: str,
        *,
        max_retries: int = 0,
        size: int | None = None,
    ) -> None:
        self.notes: tuple[str, ...] = ()
        self._program = program
        self._limits = limits
        self._path = path
        self._tries = 1 + max_retries
        self._lock = threading.Lock()
        self._idle: list[Child] = []
        self._children: set[Child] = set()
        self._load_failures = 0
        self._load_error = RewardError("")
        self._closed = False
        # The kernel ends a child when the thread that started it ends. These threads start all
        # children, and last as long as the pool.
        size = size or min(MAX_CHILDREN, len(usable_cores()))
        self._threads = ThreadPoolExecutor(size, thread_name_prefix="reward-child")
        self._finish = weakref.finalize(self, _finish, self._threads, self._children)

    def map(self, items: Sequence[Any]) -> list[Answer | RewardError]:
        """Score items, each by itself.

        Returns:
            For each item, in order, its answer or why there is none.
        """
        futures = [self._submit(item, 1) for item in items]
        return [future.result() for future in futures]

    def run(self, item: Any, share: int = 1) -> Answer | RewardError:
        """Score one item that stands for several.

        Args:
            share: number of items; their times add up, but not beyond `LONGEST_SHARED_S`, unless
                the time of one item is longer.
        """
        return self._submit(item, share).result()

    def close(self) -> None:
        """End all children; items under way are missing. Safe to call twice."""
        with self._lock:
            self._closed = True
            busy = [child for child in self._children if child not in self._idle]
        for child in busy:
            child.kill()
        self._threads.shutdown(wait=True)
        self._finish()

    def _submit(self, item: Any, share: int) -> Future[Answer | RewardError]:
        try:
            return self._threads.submit(self._run, item, share)
        except RuntimeError:
            refused: Future[Answer | RewardError] = Future()
            refused.set_result(RewardError(f"{self._path}: the reward was closed"))
            return refused

    def _run(self, item: Any, share: int) -> Answer | RewardError:
        try:
            packed = pack({"item": item, "cpu_s": self._limits.cpu_s * share})
        except ValueError as error:
            return RewardError(f"{self._path}: the item cannot be handed to a child: {error}")
        timeout_s = self._limits.timeout_s
        timeout_s = min(timeout_s * share, max(timeout_s, LONGEST_SHARED_S))
        result: Answer | RewardError = RewardError("")
        for _ in range(self._tries):
            try:
                return self._attempt(packed, timeout_s)
            except LimitReached as error:
                remedy = self._limits.remedy(self._path, error.name)
                kind = RewardTimeoutError if error.name in ("timeout_s", "cpu_s") else RewardError
                return kind(f"{self._path}: {error.what}, so the process was killed; {remedy}")
            except ChildDied as error:
                result = RewardError(f"{self._path}: {error}")
            except RewardError as error:
                return error
            except OSError as error:
                result = RewardError(f"{self._path}: a process could not be started: {error}")
        return result

    def _attempt(self, packed: bytes, timeout_s: float) -> Answer | RewardError:
        child = self._take()
        try:
            answer = child.score(packed, timeout_s)
        except BaseException:
            self._discard(child)
            raise
        if answer.get("output"):
            logger.debug("%s printed: %s", self._path, answer["output"])
        memory_mb = self._limits.memory_mb
        grown = child.peak_mb - child.first_peak_mb > (memory_mb - child.first_peak_mb) / 2
        if answer.get("is_memory") or grown or child.items >= RECYCLE_ITEMS:
            self._discard(child)
        else:
            with self._lock:
                self._idle.append(child)
        if "error" in answer:
            return self._failure(answer)
        return Answer(answer.get("value"), str(answer.get("output", "")))

    def _failure(self, answer: dict[str, Any]) -> RewardError:
        message = f"{self._path}: {answer['error']}"
        if answer.get("is_memory"):
            remedy = self._limits.remedy(self._path, "memory_mb")
            message += f"; the process may have {self._limits.memory_mb} MB: {remedy}"
        return RewardError(message)

    def _take(self) -> Child:
        with self._lock:
            if self._closed:
                raise ChildDied("the reward was closed")
            if self._idle:
                return self._idle.pop()
            if self._load_failures >= MAX_LOAD_FAILURES:
                raise self._load_error
        return self._start()

    def _start(self) -> Child:
        child = Child(self._limits)
        with self._lock:
            self._children.add(child)
            closed = self._closed
        try:
            # Whoever closes the pool from now on finds the child and kills it.
            answer = {"error": "the reward was closed"} if closed else child.load(self._program)
            if "error" in answer:
                raise self._failure(answer)
        except Exception as error:
            self._discard(child)
            with self._lock:
                self._load_failures += 1
                self._load_error = RewardError(
                    f"{self._path}: {MAX_LOAD_FAILURES} processes in a row could not be started; "
                    f"the last: {error}"
                )
            raise
        with self._lock:
            self._load_failures = 0
            fresh = [note for note in answer.get("notes", ()) if note not in self.notes]
            self.notes += tuple(fresh)
        for note in fresh:
            logger.warning("%s: a child process is less contained: %s", self._path, note)
        return child

    def _discard(self, child: Child) -> None:
        with self._lock:
            self._children.discard(child)
        child.close()


def _finish(threads: ThreadPoolExecutor, children: set[Child]) -> None:
    # The garbage collector may call this in one of these threads; nothing is under way then.
    threads.shutdown(wait=False)
    for child in list(children):
        child.close()
    children.clear()
