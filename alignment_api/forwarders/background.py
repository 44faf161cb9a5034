"""Forward in a background thread, so that a slow or dead tracker does not slow the job."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable

from alignment_api.forwarders.base import ForwardedRun, Forwarder
from alignment_api.forwarders.fields import Point, point_of, summary_of
from essa.events import Event, ResultEvent

logger = logging.getLogger(__name__)

WAITING = 1000
"""Maximum number of points queued for a tracker; further ones are dropped."""
_MOST_FAILURES = 3
"""Consecutive failures after which forwarding to a tracker stops."""
_LOOK_S = 0.2
_LONGEST = 300
"""Maximum characters shown of a library's error message."""


class BackgroundForwarder:
    """Feeds one tracker. Its failures are warned of once each, and never reach the job.

    Args:
        forwarder: the tracker's forwarder.
        run: the run to show.
        warn: called with a message about each failure, from any thread.
        waiting: maximum number of queued points.
    """

    def __init__(
        self,
        forwarder: Forwarder,
        run: ForwardedRun,
        warn: Callable[[str], None],
        waiting: int = WAITING,
    ) -> None:
        self._forwarder = forwarder
        self._run = run
        self._warn = warn
        self._waiting: queue.Queue[Point] = queue.Queue(waiting)
        self._result: ResultEvent | None = None
        self._status = ""
        self._ending = threading.Event()
        self._warned: set[str] = set()
        self._is_off = False
        name = f"forward-{forwarder.name}"
        self._thread = threading.Thread(target=self._forward, name=name, daemon=True)
        self._thread.start()

    def put(self, event: Event) -> None:
        """Queue an event's point; never blocks."""
        if isinstance(event, ResultEvent):
            self._result = event
        point = point_of(event)
        if point is None or self._is_off:
            return
        try:
            self._waiting.put_nowait(point)
        except queue.Full:
            self._warn_once("too slow or without an answer; points of this job are missing there")

    def end(self, status: str) -> None:
        """Close the run once all queued points are sent."""
        self._status = status
        self._ending.set()

    def join(self, wait_s: float) -> bool:
        """Wait for the thread to end; return False if it has not ended in time."""
        self._thread.join(wait_s)
        return not self._thread.is_alive()

    def _forward(self) -> None:
        if not self._tried(lambda: self._forwarder.begin(self._run), "this job is not shown there"):
            self._is_off = True
            return
        failures = 0
        while failures < _MOST_FAILURES:
            point = self._next()
            if point is None:
                break
            is_sent = self._tried(
                lambda point=point: self._forwarder.log(*point), "points of this job are missing"
            )
            failures = 0 if is_sent else failures + 1
        self._is_off = True
        self._ending.wait()
        summary = summary_of(self._result) if self._result is not None else {}
        self._tried(lambda: self._forwarder.finish(self._status, summary), "its end is not shown")

    def _next(self) -> Point | None:
        """Return the next point; None once the queue is empty and the job has ended."""
        while True:
            is_ending = self._ending.is_set()  # read first: nothing is queued after it is set
            try:
                return self._waiting.get(timeout=_LOOK_S)
            except queue.Empty:
                if is_ending:
                    return None

    def _tried(self, call: Callable[[], None], consequence: str) -> bool:
        try:
            call()
        except Exception as error:
            logger.warning("%s failed", self._forwarder.name, exc_info=True)
            reason = (str(error).strip() or type(error).__name__).partition("\n")[0][:_LONGEST]
            self._warn_once(f"{reason}; {consequence}")
            return False
        return True

    def _warn_once(self, text: str) -> None:
        kind = text.rpartition(";")[2]
        if kind not in self._warned:
            self._warned.add(kind)
            self._warn(f"integration {self._forwarder.name}: {text}")
