"""The input of a reward: one answer and everything known about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from reward.errors import RewardError


class Need(StrEnum):
    """Data beyond the text that engines provide only if a reward asks for it."""

    LOGPROBS = "logprobs"
    """`Sample.logprobs`: free, since the engine computes them anyway."""
    REFERENCE_LOGPROBS = "reference_logprobs"
    """`Sample.reference_logprobs`: one forward pass of the base model over every answer."""


@dataclass(frozen=True)
class Sample:
    """One completion of one prompt, by one candidate.

    Attributes:
        completion: the model's answer, without the prompt.
        columns: the data row as the user wrote it. Must not be modified.
        prompt: text given to the model, templates applied.
        messages: the conversation before the answer, each with `role` and `content`; empty for
            plain-text prompts.
        group: index of the prompt, shared by all samples of that prompt.
        tokens: length of the completion in tokens of the model, the end token included; None if
            no model wrote it.
        logprobs: natural-log probability of every token under the candidate that wrote it.
        reference_logprobs: the same for the base model without any adapter.
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
    """Return samples with nothing but text and row, each with a prompt of its own.

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
