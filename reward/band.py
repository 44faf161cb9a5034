"""How near a value is to a band of good values."""

from __future__ import annotations


def nearness(value: float, low: float | None, high: float | None, slack: float) -> float:
    """Return 1 inside the band, and 1 - distance / slack outside it, 0 from `slack` on.

    Args:
        value: what was measured.
        low: lower end of the band, included; None leaves it open.
        high: upper end, included; None leaves it open.
        slack: distance from the band at which 0 is reached; 0 makes it all or nothing.
    """
    if low is not None and value < low:
        distance = low - value
    elif high is not None and value > high:
        distance = value - high
    else:
        return 1.0
    return 0.0 if distance >= slack else 1.0 - distance / slack
