"""The paper's two scaling points, and what they imply.

Source:
    arXiv:2507.04453, section 4.2: Qwen2.5-32B on PRM800K, rank 16, population 128, batch 256;
    minutes to a validation accuracy of 0.835.
"""

from __future__ import annotations

from typing import NamedTuple

GPUS = (16, 128)
ESSA_MINUTES = (200.0, 20.0)
"""Minutes of ESSA; the second is an upper bound, as the paper says below 20."""
GRPO_MINUTES = (400.0, 150.0)
MODEL, RANK, POPULATION, BATCH = "qwen2.5-32b", 16, 128, 256


class Scaling(NamedTuple):
    """Scaling of one method from few to many GPUs."""

    speedup: float
    more_gpus: float
    fixed_frac: float
    """Serial share of the time on few GPUs, which more GPUs do not shrink; negative for superlinear
    speedup, which dividing work cannot explain."""

    @property
    def is_superlinear(self) -> bool:
        """True if the speedup exceeds the factor by which the GPUs increase."""
        return self.speedup > self.more_gpus


def scaling(minutes: tuple[float, float], gpus: tuple[int, int] = GPUS) -> Scaling:
    """Fit Amdahl's law, minutes = fixed + divided / GPUs, to two points."""
    few, many = gpus
    divided = (minutes[0] - minutes[1]) / (1 / few - 1 / many)
    fixed = minutes[0] - divided / few
    return Scaling(minutes[0] / minutes[1], many / few, fixed / minutes[0])
