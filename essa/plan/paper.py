"""The paper's two points of scaling, and what they imply.

Source:
    arXiv:2507.04453, section 4.2: Qwen2.5-32B on PRM800K, rank 16, population 128, batch 256;
    minutes to a validation accuracy of 0.835.
"""

from __future__ import annotations

from typing import NamedTuple

GPUS = (16, 128)
ESSA_MINUTES = (200.0, 20.0)
"""The second is an upper bound: the paper says below 20."""
GRPO_MINUTES = (400.0, 150.0)
MODEL, RANK, POPULATION, BATCH = "qwen2.5-32b", 16, 128, 256


class Scaling(NamedTuple):
    """One method from few to many GPUs."""

    speedup: float
    more_gpus: float
    fixed_frac: float
    """Share of the time on few GPUs that does not shrink with more; negative where the speedup is
    larger than the GPUs are more, which nothing that is divided among them can give."""

    @property
    def is_superlinear(self) -> bool:
        """Faster by more than there are more GPUs."""
        return self.speedup > self.more_gpus


def scaling(minutes: tuple[float, float], gpus: tuple[int, int] = GPUS) -> Scaling:
    """What two points imply by Amdahl's law, minutes = fixed + divided / GPUs."""
    few, many = gpus
    divided = (minutes[0] - minutes[1]) / (1 / few - 1 / many)
    fixed = minutes[0] - divided / few
    return Scaling(minutes[0] / minutes[1], many / few, fixed / minutes[0])
