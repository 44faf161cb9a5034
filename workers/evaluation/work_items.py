"""Work items of a population's blocks, and of answers that the base scores. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from essa.dispatch import ITEMS_PER_ENGINE, MIN_ROWS, Block
from workers.cluster.pool import WorkItem
from workers.engines.base import BASE, SamplingParameters

AnswerKey = tuple[int, tuple[int, ...]]
"""Prompt of the batch and token ids of an answer to it."""


def work_items(
    bundles: Sequence[Sequence[Block]],
    prompt_ids: Sequence[tuple[int, ...]],
    parameters: SamplingParameters,
    first_prompt: Callable[[int], int] = lambda row: 0,
) -> list[WorkItem]:
    """Items of the bundles; an item's key is its bundle's position.

    Sampling seeds depend on the prompt alone, so that all candidates meet the same randomness: a
    bundle that is sampled has one block.

    Args:
        prompt_ids: of the batch.
        first_prompt: position in the batch of the first prompt that a row of the result has.
    """
    items: list[WorkItem] = []
    for key, bundle in enumerate(bundles):
        places = [
            (block.candidate, first_prompt(block.row) + prompt)
            for block in bundle
            for prompt in range(block.start, block.stop)
        ]
        seed = parameters.seed + places[0][1] * parameters.samples
        items.append(
            WorkItem(
                key=key,
                candidates=tuple(candidate for candidate, _ in places),
                prompts=tuple(prompt_ids[prompt] for _, prompt in places),
                parameters=replace(parameters, seed=seed),
            )
        )
    return items


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
