"""Numbers that JSON has. In stored events NaN and infinity travel as texts."""

from __future__ import annotations

import math
from typing import Any


def finite(value: Any) -> float | None:
    """A number, or None for what is none."""
    number = math.nan if value is None else float(value)
    return number if math.isfinite(number) else None
