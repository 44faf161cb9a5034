"""Send the events of a job to its usual sink and to all its trackers."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence

from alignment_api.forwarders.background import BackgroundForwarder
from alignment_api.forwarders.base import ForwardedRun, Forwarder
from essa.events import Event, WarningEvent
from essa.ports import EventSink

logger = logging.getLogger(__name__)

WARNING = "integration"


class ForwardingSink(EventSink):
    """Passes events on. Only the usual sink can fail or slow the job.

    Its context spans the job's run; call `close` after the job has its final state.

    Args:
        inner: the usual sink, which also receives warnings about forwarders.
        forwarders: the forwarders of the job's integrations.
        run: the job.
    """

    def __init__(
        self, inner: EventSink, forwarders: Sequence[Forwarder], run: ForwardedRun
    ) -> None:
        self._inner = inner
        self._lock = threading.Lock()
        self._is_sealed = False
        self._others = [BackgroundForwarder(one, run, self._warn) for one in forwarders]

    def emit(self, event: Event) -> None:
        """Pass an event to the usual sink and to the forwarders."""
        with self._lock:
            self._inner.emit(event)
        for other in self._others:
            other.put(event)

    def __enter__(self) -> ForwardingSink:
        return self

    def __exit__(self, *error: object) -> None:
        # From here on, warnings are only logged: no event may follow the end of a job.
        with self._lock:
            self._is_sealed = True

    def close(self, status: str, wait_s: float) -> bool:
        """Finish all forwarders.

        Args:
            status: the job's state.
            wait_s: seconds to wait, for all forwarders together.
        Returns:
            False if a forwarder has not finished.
        """
        give_up_at = time.monotonic() + wait_s
        for other in self._others:
            other.end(status)
        ends = [other.join(max(0.0, give_up_at - time.monotonic())) for other in self._others]
        return all(ends)

    def _warn(self, text: str) -> None:
        logger.warning("%s", text)
        with self._lock:
            if not self._is_sealed:
                try:
                    self._inner.emit(WarningEvent(code=WARNING, message=text))
                except Exception:
                    logger.exception("the warning cannot be recorded")
