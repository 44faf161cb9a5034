"""Bands of good values: the settings `target`, `min`, `max` and `slack`."""

from __future__ import annotations


def check_band(target: float | None, low: float | None, high: float | None, slack: float) -> None:
    """Check the settings of a band against each other.

    Raises:
        ValueError: they contradict each other; names the settings.
    """
    if target is None:
        if low is not None and high is not None and low > high:
            raise ValueError(f"min is {low}, above max, which is {high}; lower min or raise max")
        return
    if low is not None or high is not None:
        raise ValueError(
            f"target is {target}, and there is a `min` or `max` too; a band is given by its ends "
            "or by its middle alone: remove one of the two"
        )
    if slack <= 0:
        raise ValueError(
            f"target is {target} and slack {slack}; give `slack`, above 0: the distance from the "
            "target at which the reward has fallen to 0"
        )
