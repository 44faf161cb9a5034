"""How a population's rollouts are cut into blocks, one work item each. Pure.

The pool cuts its work by this, and so does the simulation of a pool.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

ITEMS_PER_ENGINE = 8
"""Fewer leave an engine idle at the end; more cost calls."""
MIN_ROWS = 8
QUEUE_FACTOR = 1.25
"""Sequences handed to an engine, as a multiple of what it decodes together: the next item is there
when a sequence ends."""


@dataclass(frozen=True)
class Block:
    """Rows [start, stop) of the batch for one candidate; `row` is its row of the result."""

    row: int
    candidate: int
    start: int
    stop: int


def plan_blocks(
    candidates: Sequence[int], prompts: int, *, engines: int, capacity: int
) -> list[Block]:
    """One candidate and some of its prompts per block, enough blocks to keep every engine busy.

    Args:
        candidates: engine ids in the order of the result's rows.
        prompts: size of the batch.
        capacity: sequences an engine decodes together; no block is larger.
    """
    rows = math.ceil(len(candidates) * prompts / (engines * ITEMS_PER_ENGINE))
    size = max(1, min(prompts, capacity, max(rows, MIN_ROWS)))
    return [
        Block(row, candidate, start, min(start + size, prompts))
        for row, candidate in enumerate(candidates)
        for start in range(0, prompts, size)
    ]
