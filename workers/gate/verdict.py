"""The gate's measurements and its criteria for refusal. Pure.

All differences are in nats (natural-log probabilities of the engine's own answer tokens), as root
mean square over tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from essa.spec.engine import Precision

BASE_TOLERANCE_NATS = {
    Precision.FP32: 0.01,
    Precision.BF16: 0.15,
    Precision.INT8: 0.6,
    Precision.INT4: 0.25,
}
"""Largest difference between engine and reference on the same model, by precision of the base.

At least three times what correct engines showed, see docs/ENGINES.md. INT8 is wide because it
rounds activations: one bit of difference before the rounding becomes a step after it.
"""
ZEROED_TOLERANCE_NATS = 0.02
"""Largest difference between zeros and the base in one batch; on a CPU core there is none."""
CANDIDATE_TOLERANCE_FRAC = {
    Precision.FP32: 0.1,
    Precision.BF16: 0.25,
    Precision.INT8: 0.5,
    Precision.INT4: 0.25,
}
"""Largest difference between engine and reference on a random candidate, as a share of its effect.

Halved scales give 0.55 and more, another candidate's row or swapped layers 0.8 and more.
"""


@dataclass(frozen=True)
class Measurement:
    """Differences of one engine from the reference; `candidates` as shares of their effect."""

    base_nats: float
    warm_start_nats: float
    zeroed_nats: float
    candidates: tuple[float, ...]
    effect_nats: float

    def as_json(self) -> dict[str, Any]:
        """Return the measurement for the cache and the event."""
        return asdict(self)


def rms(difference: NDArray[np.float64]) -> float:
    """Return the root mean square; NaN and infinities stay, and then fail every comparison."""
    return float(np.sqrt(np.mean(np.square(difference))))


def worst(measurements: Sequence[Measurement]) -> Measurement:
    """Return the largest difference of each kind over all engines, and the smallest effect."""
    return Measurement(
        base_nats=max(one.base_nats for one in measurements),
        warm_start_nats=max(one.warm_start_nats for one in measurements),
        zeroed_nats=max(one.zeroed_nats for one in measurements),
        candidates=tuple(
            max(shares) for shares in zip(*(one.candidates for one in measurements), strict=True)
        ),
        effect_nats=min(one.effect_nats for one in measurements),
    )


def objections(measurement: Measurement, precision: Precision) -> list[str]:
    """Return the reasons why a search must not start on this engine; empty if it may."""
    tolerance, allowed = BASE_TOLERANCE_NATS[precision], CANDIDATE_TOLERANCE_FRAC[precision]
    found = []
    if not measurement.base_nats <= tolerance:
        found.append(
            f"the base model itself differs by {measurement.base_nats:.3g} nats from transformers "
            f"({precision} may differ by {tolerance:g})"
        )
    if not measurement.zeroed_nats <= ZEROED_TOLERANCE_NATS:
        found.append(
            f"a candidate whose singular values are all zero differs by "
            f"{measurement.zeroed_nats:.3g} nats from the base; it must be the base"
        )
    if not measurement.warm_start_nats <= tolerance:
        found.append(
            f"the warm start differs by {measurement.warm_start_nats:.3g} nats "
            f"({precision} may differ by {tolerance:g})"
        )
    for number, share in enumerate(measurement.candidates, start=1):
        if not share <= allowed:
            found.append(
                f"random candidate {number} is off by {100 * share:.0f} % of the adapter's own "
                f"effect of {measurement.effect_nats:.3g} nats (at most "
                f"{100 * allowed:.0f} %)"
            )
    return found
