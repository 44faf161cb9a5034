"""Arrays as lists for JSON, which has no NaN."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from essa.types import FloatArray


def as_list(values: FloatArray) -> list[float | None]:
    """Numbers of a vector; None for NaN. Floats survive JSON bit by bit."""
    return [None if np.isnan(value) else float(value) for value in values]


def as_array(values: Sequence[float | None]) -> FloatArray:
    """What `as_list` was given."""
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
