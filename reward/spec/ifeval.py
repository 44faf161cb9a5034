"""Instructions that a program can check."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from reward.spec.model import RewardSpecModel


class IfevalSpec(RewardSpecModel):
    """Share of the row's instructions that the completion follows, from the 25 kinds of IFEval.

    Examples are `detectable_format:title` and `length_constraints:number_words`. Arguments and
    verdicts are those of the official program (Zhou et al. 2023, arXiv:2311.07911).
    """

    type: Literal["ifeval"] = "ifeval"
    score: Literal["share", "all"] = "share"
    """Score. `share`: the share of the row's instructions that is followed; `all`: 1 if all are."""
    strict: bool = True
    """Use the strict verdicts of the paper. False selects its loose verdicts: the completion also
    counts without its first line, its last line or its asterisks."""
    instructions: str = Field(default="instruction_id_list", min_length=1)
    """Column of the row that holds a list of instruction ids."""
    kwargs: str = Field(default="kwargs", min_length=1)
    """Column of the row that holds one object of arguments for each instruction; nulls in an
    object are ignored."""
    prompt: str = Field(default="prompt", min_length=1)
    """Column of the row that holds the prompt. Read only if `combination:repeat_prompt` has no
    `prompt_to_repeat`."""
