"""When to try again."""

from __future__ import annotations

import random
import time
from email.utils import parsedate_to_datetime

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 60.0


def is_worth_a_retry(status: int) -> bool:
    """Whether a server that answered with this status may answer otherwise the next time."""
    return status == 429 or status >= 500


def pause_s(attempt: int, retry_after_s: float | None) -> float:
    """Return how long to wait, in seconds.

    Doubles with every attempt; half of it is random, so that many callers do not come back at
    once. What the server asks for counts where it is longer.

    Args:
        attempt: number of the failed attempt, from 0.
        retry_after_s: what the server asked for.
    """
    backoff_s = FIRST_PAUSE_S * 2**attempt * random.uniform(0.5, 1.0)
    return min(LONGEST_PAUSE_S, max(backoff_s, retry_after_s or 0.0))


def retry_after_s(header: str | None) -> float | None:
    """Read a `Retry-After` header, seconds or a date; None where there is none to be read."""
    if header is None:
        return None
    if header.strip().isdecimal():
        return float(header)
    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - time.time())
    except ValueError:
        return None
