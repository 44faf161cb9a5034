"""Rate limits for requests."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable


class RateLimiter:
    """A token bucket per name. Thread-safe.

    Args:
        per_minute: sustained rate, in requests per minute.
        burst: requests allowed at once after a pause.
        now_s: a monotonic clock, in seconds.
    """

    _LARGEST = 50_000

    def __init__(
        self, per_minute: float, burst: int, now_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._per_s = per_minute / 60
        self._burst = float(burst)
        self._now_s = now_s
        self._lock = threading.Lock()
        self._buckets: dict[str, tuple[float, float]] = {}

    def wait_s(self, name: str) -> float:
        """Count one request of `name`; return 0 if it may pass, else the seconds to wait."""
        with self._lock:
            now = self._now_s()
            left, at = self._buckets.get(name, (self._burst, now))
            left = min(self._burst, left + (now - at) * self._per_s)
            is_passing = left >= 1
            self._buckets[name] = (left - 1 if is_passing else left, now)
            if len(self._buckets) > self._LARGEST:
                self._drop_full(now)
        return 0.0 if is_passing else math.ceil((1 - left) / self._per_s)

    def _drop_full(self, now: float) -> None:
        full_after_s = self._burst / self._per_s
        self._buckets = {
            name: (left, at)
            for name, (left, at) in self._buckets.items()
            if now - at < full_after_s
        }
