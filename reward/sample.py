"""What a reward is given: one answer, and everything that is known about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from reward.errors import RewardError


class Need(StrEnum):
    """Something a reward reads that costs the engines work, and is there only where asked for."""

    LOGPROBS = "logprobs"
    """`Sample.logprobs`: free, the engine has them at hand."""
    REFERENCE_LOGPROBS = "reference_logprobs"
    """`Sample.reference_logprobs`: one pass of the base over every answer."""


@dataclass(frozen=True)
class Sample:
    """One completion of one prompt, by one candidate.

    Attributes:
        completion: what the model answered, without the prompt.
        columns: the data row as the user wrote it. Not to be changed.
        prompt: text the model was given, templates applied.
        messages: the conversation before the answer, each with `role` and `content`; empty for
            plain-text prompts.
        group: number of the prompt; samples of one prompt have it in common.
        tokens: length of the completion in tokens of the model, the end token included; None
            where no model wrote it.
        logprobs: natural-log probability of every token under the candidate that wrote it.
        reference_logprobs: of the same tokens under the base model without any adapter.
    """

    completion: str
    columns: Mapping[str, Any] = field(default_factory=dict[str, Any])
    prompt: str = ""
    messages: tuple[Mapping[str, str], ...] = ()
    group: int = 0
    tokens: int | None = None
    logprobs: tuple[float, ...] | None = None
    reference_logprobs: tuple[float, ...] | None = None


def samples_of(completions: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[Sample]:
    """Samples that carry nothing but text and row, each of a prompt of its own.

    Raises:
        RewardError: the lengths differ.
    """
    if len(completions) != len(rows):
        raise RewardError(
            f"{len(completions)} completions came with {len(rows)} rows; "
            "give the row of each completion",
            completions=len(completions),
            rows=len(rows),
        )
    return [
        Sample(completion, row, group=group)
        for group, (completion, row) in enumerate(zip(completions, rows, strict=True))
    ]
