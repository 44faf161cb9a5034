"""Instructions that a program can check."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from reward.spec.model import RewardSpecModel


class IfevalSpec(RewardSpecModel):
    """Instructions of the row that the completion follows, out of the 25 kinds of IFEval.

    `detectable_format:title`, `length_constraints:number_words` and so on, with the arguments and
    the verdicts of the official program (Zhou et al. 2023, arXiv:2311.07911).
    """

    type: Literal["ifeval"] = "ifeval"
    score: Literal["share", "all"] = "share"
    """`share`: the share of the row's instructions that are followed; `all`: 1 where all are."""
    strict: bool = True
    """False: an instruction is also followed where the completion follows it without its first
    line, its last line or its asterisks, which are the loose verdicts of the paper."""
    instructions: str = Field(default="instruction_id_list", min_length=1)
    """Column of the row that holds a list of instruction ids."""
    kwargs: str = Field(default="kwargs", min_length=1)
    """Column of the row that holds one object of arguments for each instruction; nulls in it are
    passed over."""
    prompt: str = Field(default="prompt", min_length=1)
    """Column of the row that holds the prompt. Read only where `combination:repeat_prompt` has no
    `prompt_to_repeat`."""
