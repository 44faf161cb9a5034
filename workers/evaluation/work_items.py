"""Work items of a population's blocks, and of answers that the base scores. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from essa.dispatch import ITEMS_PER_ENGINE, MIN_ROWS, Block
from workers.cluster.pool import WorkItem
from workers.engines.base import BASE, SamplingParameters

AnswerKey = tuple[int, tuple[int, ...]]
"""Prompt of the batch and token ids of an answer to it."""


def work_items(
    blocks: Sequence[Block],
    prompt_ids: Sequence[tuple[int, ...]],
    parameters: SamplingParameters,
) -> list[WorkItem]:
    """Items of the blocks; an item's key is its block's position.

    Sampling seeds depend on the prompt alone, so that all candidates meet the same randomness.
    """
    return [
        WorkItem(
            key=key,
            candidates=(block.candidate,) * (block.stop - block.start),
            prompts=tuple(prompt_ids[block.start : block.stop]),
            parameters=replace(parameters, seed=parameters.seed + block.start * parameters.samples),
        )
        for key, block in enumerate(blocks)
    ]


def reference_items(
    answers: Sequence[AnswerKey],
    prompt_ids: Sequence[tuple[int, ...]],
    *,
    engines: int,
    capacity: int,
    candidate: int = BASE,
) -> tuple[list[list[AnswerKey]], list[WorkItem]]:
    """Items in which one candidate, the base, scores given answers; and the answers of each.

    Args:
        answers: prompt and token ids of each.
        prompt_ids: token ids of every prompt.
        capacity: sequences an engine takes together; no item is larger.
        candidate: who scores.
    """
    share = math.ceil(len(answers) / (engines * ITEMS_PER_ENGINE))
    size = max(1, min(capacity, max(share, MIN_ROWS)))
    parts = [list(answers[start : start + size]) for start in range(0, len(answers), size)]
    items = [
        WorkItem(
            key=key,
            candidates=(candidate,) * len(part),
            prompts=tuple(prompt_ids[prompt] for prompt, _ in part),
            parameters=SamplingParameters(max_tokens=1),
            answers=tuple(token_ids for _, token_ids in part),
        )
        for key, part in enumerate(parts)
    ]
    return parts, items
