"""What the gate measures and when it refuses. Pure.

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
"""How far engine and reference may differ on one and the same model, by format of the base.

Three times and more what right engines showed, see docs/ENGINES.md. INT8 is wide because it rounds
activations: one bit of difference before the rounding becomes a step after it.
"""
ZEROED_TOLERANCE_NATS = 0.02
"""How far a candidate of zeros may differ from the base in the same batch; zero on a CPU core."""
CANDIDATE_TOLERANCE_FRAC = {
    Precision.FP32: 0.1,
    Precision.BF16: 0.25,
    Precision.INT8: 0.5,
    Precision.INT4: 0.25,
}
"""How far a random candidate may differ from the reference, as a share of the adapter's effect.

Half the scale gives 0.55 and more, another candidate's row or swapped layers 0.8 and more.
"""


@dataclass(frozen=True)
class Measurement:
    """One engine against the reference; `candidates` are shares of their effect."""

    base_nats: float
    warm_start_nats: float
    zeroed_nats: float
    candidates: tuple[float, ...]
    effect_nats: float

    def as_json(self) -> dict[str, Any]:
        """For the cache and the event."""
        return asdict(self)


def rms(difference: NDArray[np.float64]) -> float:
    """Root mean square; NaN and infinities stay, and then fail every comparison."""
    return float(np.sqrt(np.mean(np.square(difference))))


def worst(measurements: Sequence[Measurement]) -> Measurement:
    """The largest difference of each kind over all engines."""
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
    """Why a search must not start on this engine; empty where it may."""
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
