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
BLOCKS_PER_BATCH = 4
"""A block is at most this part of what an engine decodes together: an engine that waits for room
for a larger one runs empty meanwhile."""
QUEUE_FACTOR = 1.25
"""Sequences handed to an engine, as a multiple of what it decodes together: the next item is there
when a sequence ends."""
LAST_BATCHES = 1.5
"""Work that is no more than so many batches for every engine is dealt out evenly, all at once:
whoever lands an item first would otherwise take what is left, and end last."""


@dataclass(frozen=True)
class Block:
    """Prompts [start, stop) of those of one candidate; `row` is its row of the result."""

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
        prompts: of every candidate.
        capacity: sequences an engine decodes together; no block is larger than a part of them.
    """
    wanted = item_sequences(len(candidates) * prompts, engines=engines, capacity=capacity)
    most = min(prompts, wanted)
    size = math.ceil(prompts / math.ceil(prompts / most))
    return [
        Block(row, candidate, start, min(start + size, prompts))
        for row, candidate in enumerate(candidates)
        for start in range(0, prompts, size)
    ]


def bundles(blocks: Sequence[Block], sequences: int) -> list[tuple[Block, ...]]:
    """Neighbouring blocks put together, up to about so many sequences an item.

    For candidates with few prompts each: a call to an engine costs as much for one sequence as for
    many.
    """
    found: list[list[Block]] = []
    room = 0
    for block in blocks:
        size = block.stop - block.start
        if room < size:
            found.append([])
            room = max(sequences, size)
        found[-1].append(block)
        room -= size
    return [tuple(bundle) for bundle in found]


def item_sequences(sequences: int, *, engines: int, capacity: int) -> int:
    """Sequences of one work item that keep every engine busy, where prompts do not bound them.

    Args:
        sequences: of the whole evaluation.
        capacity: sequences an engine decodes together.
    """
    share = math.ceil(sequences / (engines * ITEMS_PER_ENGINE))
    part = max(MIN_ROWS, math.ceil(capacity / BLOCKS_PER_BATCH))
    return max(1, min(max(share, MIN_ROWS), part, capacity))


def queue_limit(capacity: int, engines: int, *, unfinished: float, item: int) -> float:
    """Sequences that one engine may have at once, those it decodes and those that wait there.

    Args:
        capacity: sequences an engine decodes together.
        engines: those that work.
        unfinished: sequences of all items that are waiting or under way.
        item: sequences of the next item.
    """
    share = unfinished / max(engines, 1)
    # A share is no multiple of an item. Half an item more would be half a batch where they are big.
    evenly = share + item / 4 if share <= LAST_BATCHES * capacity else 0.0
    return max(QUEUE_FACTOR * capacity, evenly)
