"""Data with which an engine can run any candidate: frozen bases, and the order of scales in a row.

For each module and an input row vector x, a candidate adds

    ((x @ shrink.T) * first) @ core.T * second @ expand.T

`factors` uses all five (shrink = V_A^T, core = V_B^T U_A, expand = scaling * U_B, first = s_A,
second = s_B: essa.md section 2, "Implementation identity"). `product` has no core and no second.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ModuleBasis:
    """Frozen arrays of one adapted linear layer, all float32.

    `name` is the module's path in the Hugging Face model, such as
    `model.layers.0.self_attn.q_proj`. `shrink` is (r, in), `core` is (r, r) or None, `expand` is
    (out, r) and includes PEFT's scaling.
    """

    name: str
    shrink: NDArray[np.float32]
    core: NDArray[np.float32] | None
    expand: NDArray[np.float32]

    @property
    def rank(self) -> int:
        """Rank of this module's adapter."""
        return self.shrink.shape[0]

    @property
    def scales(self) -> int:
        """Number of scales per candidate: r, or 2r with a core (first, then second)."""
        return self.rank if self.core is None else 2 * self.rank


@dataclass(frozen=True)
class EngineBasis:
    """Bases of all modules in a fixed order. `digest` identifies them; engines report it back.

    A candidate is one float32 row of `width` numbers: the scales of one module after the other.
    """

    modules: tuple[ModuleBasis, ...]
    digest: str

    @property
    def width(self) -> int:
        """Number of scales per candidate, S."""
        return sum(module.scales for module in self.modules)

    @property
    def rank(self) -> int:
        """Largest rank of any module."""
        return max(module.rank for module in self.modules)

    def offsets(self) -> dict[str, int]:
        """Return the first column of every module in a row of scales, by the module's name."""
        starts: dict[str, int] = {}
        position = 0
        for module in self.modules:
            starts[module.name] = position
            position += module.scales
        return starts
