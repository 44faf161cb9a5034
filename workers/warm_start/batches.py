"""Padded tensors made of training pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from essa.errors import DataError
from workers.warm_start.pairs import SftPair

if TYPE_CHECKING:
    import torch

IGNORED = -100
"""Label of a token that is not trained on; torch's cross entropy ignores it."""

BUCKET_BATCHES = 8
"""Number of batches whose pairs are sorted by length together, so that little is padded."""


class Batch(NamedTuple):
    """Left-padded tensors of shape (batch, T); the last `tail` positions hold all answers."""

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    position_ids: torch.Tensor
    labels: torch.Tensor
    tail: int


def check_pairs(pairs: Sequence[SftPair], max_length: int) -> None:
    """Check that every pair can be trained on.

    Raises:
        DataError: there are no pairs, or one is empty or longer than `max_length` tokens.
    """
    if not pairs:
        raise DataError("the warm start has no pairs to train on; give data with answers")
    for number, pair in enumerate(pairs, start=1):
        if not pair.prompt_ids or not pair.completion_ids:
            empty = "prompt" if not pair.prompt_ids else "answer"
            raise DataError(f"pair {number} of the warm start has an empty {empty}", pair=number)
        length = len(pair)
        if length > max_length:
            raise DataError(
                f"pair {number} of the warm start has {length} tokens, "
                f"warm_start.sft.max_length is {max_length}; raise it or shorten the pair",
                pair=number,
                field="warm_start.sft.max_length",
            )


def plan_batches(
    pairs: Sequence[SftPair], batch_size: int, epochs: int, seed: int
) -> list[list[int]]:
    """Return the indices of every batch of every epoch: random order, similar lengths together."""
    rng = np.random.default_rng(seed)
    lengths = np.array([len(pair) for pair in pairs])
    plan: list[list[int]] = []
    for _ in range(epochs):
        order = rng.permutation(len(pairs))
        epoch: list[list[int]] = []
        for start in range(0, len(order), batch_size * BUCKET_BATCHES):
            bucket = order[start : start + batch_size * BUCKET_BATCHES]
            bucket = bucket[np.argsort(lengths[bucket], kind="stable")]
            epoch.extend(
                bucket[i : i + batch_size].tolist() for i in range(0, len(bucket), batch_size)
            )
        plan.extend(epoch[i] for i in rng.permutation(len(epoch)))
    return plan


def collate(pairs: Sequence[SftPair], device: torch.device) -> Batch:
    """Pad a batch on the left; padding is masked and has no positions."""
    import torch

    width = max(len(pair) for pair in pairs)
    ids = torch.zeros(len(pairs), width, dtype=torch.long)
    mask = torch.zeros_like(ids)
    labels = torch.full_like(ids, IGNORED)
    for row, pair in enumerate(pairs):
        tokens = torch.tensor((*pair.prompt_ids, *pair.completion_ids))
        ids[row, -len(tokens) :] = tokens
        mask[row, -len(tokens) :] = 1
        labels[row, -len(pair.completion_ids) :] = torch.tensor(pair.completion_ids)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    tail = max(len(pair.completion_ids) for pair in pairs)
    return Batch(ids.to(device), mask.to(device), positions.to(device), labels.to(device), tail)
