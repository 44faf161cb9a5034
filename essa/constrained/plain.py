"""Convert arrays to lists for JSON, which has no NaN, and back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from essa.types import FloatArray


def as_list(values: FloatArray) -> list[float | None]:
    """Return a vector of shape (K,) as a list, with None for NaN. JSON keeps every bit."""
    return [None if np.isnan(value) else float(value) for value in values]


def as_array(values: Sequence[float | None]) -> FloatArray:
    """Return the vector that `as_list` was given, shape (K,), float64."""
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
