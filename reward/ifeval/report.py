"""The metrics of the IFEval paper over a list of answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reward.errors import RewardError
from reward.ifeval.verdict import verdicts


@dataclass(frozen=True)
class Accuracy:
    """Shares in [0, 1].

    Attributes:
        prompt: share of prompts whose instructions are all followed.
        instruction: share of instructions followed, over all prompts.
        by_type: share of instructions followed, by instruction id.
    """

    prompt: float
    instruction: float
    by_type: dict[str, float]


@dataclass(frozen=True)
class IfevalReport:
    """The scores of a model on IFEval.

    Attributes:
        counts: number of instructions by id.
    """

    prompts: int
    counts: dict[str, int]
    strict: Accuracy
    loose: Accuracy


def report(rows: Sequence[Mapping[str, Any]], answers: Sequence[str]) -> IfevalReport:
    """Score answers as the paper does: prompt and instruction level, strict and loose.

    Args:
        rows: one per answer, with `instruction_id_list`, `kwargs` and `prompt`.
    Raises:
        RewardError: there are no rows, or not one answer for each row.
        RewardConfigError, RewardTimeoutError: as `reward.ifeval.follow`.
    Source:
        Zhou et al. (2023), arXiv:2311.07911, Section 2.2 and Table 3.
    """
    if not rows or len(rows) != len(answers):
        raise RewardError(f"{len(answers)} answers came with {len(rows)} rows; give one for each")
    counts = Counter(kind for row in rows for kind in row["instruction_id_list"])
    return IfevalReport(
        prompts=len(rows),
        counts=dict(sorted(counts.items())),
        strict=_accuracy(rows, answers, counts, loose=False),
        loose=_accuracy(rows, answers, counts, loose=True),
    )


def _accuracy(
    rows: Sequence[Mapping[str, Any]], answers: Sequence[str], counts: Counter[str], loose: bool
) -> Accuracy:
    followed: Counter[str] = Counter()
    prompts = 0
    for row, answer in zip(rows, answers, strict=True):
        found = verdicts(row, answer, loose)
        prompts += all(found)
        followed.update(
            kind for kind, good in zip(row["instruction_id_list"], found, strict=True) if good
        )
    return Accuracy(
        prompt=prompts / len(rows),
        instruction=followed.total() / counts.total(),
        by_type={kind: followed[kind] / counts[kind] for kind in sorted(counts)},
    )
