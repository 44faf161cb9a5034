"""A step size that cannot collapse while multipliers still move."""

from __future__ import annotations

from essa.spec.search import SearchSpec


def with_sigma_floor(spec: SearchSpec, sigma_init: float, share: float) -> SearchSpec:
    """Raise `sigma_min` to a share of the initial step size.

    While a multiplier is near 0, the best place is the start itself: the step size shrinks, and
    what is then asked for is out of reach.

    Args:
        spec: returned as it is where it has no `sigma_min`, as with a fixed step size.
        sigma_init: resolved step size.
        share: `sigma_floor` of the method, below 1.
    """
    floor = getattr(spec, "sigma_min", None)
    if floor is None:
        return spec
    return spec.model_copy(update={"sigma_min": max(floor, share * sigma_init)})
