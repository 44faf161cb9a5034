"""Verdicts on the instructions that an answer should follow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reward.errors import RewardConfigError
from reward.ifeval.registry import INSTRUCTIONS, argument_problem, check_library


def follow(instruction_id: str, kwargs: Mapping[str, Any] | None, prompt: str, answer: str) -> bool:
    """Return whether the answer, unmodified, follows the instruction. A blank answer never does.

    Args:
        kwargs: arguments of the instruction; nulls are ignored.
        prompt: prompt of the answer; read only by `combination:repeat_prompt`, if its arguments do
            not say what to repeat.
        answer: the answer, without the prompt.
    Raises:
        RewardConfigError: the instruction is not known, its arguments cannot be used, or the
            library it needs is not installed.
        RewardTimeoutError: a keyword of the row, as a regular expression, took too long.
    """
    return _follows_one(instruction_id, kwargs or {}, prompt, [answer] if answer.strip() else [])


def verdicts(row: Mapping[str, Any], answer: str, loose: bool = False) -> list[bool]:
    """Return for each instruction of a row whether the answer follows it.

    Args:
        row: row with `instruction_id_list`, `kwargs` of the same length, and `prompt`.
        loose: whether any of `loose_forms` may follow the instruction, not the answer alone.
    Returns:
        One verdict per instruction, in order.
    Raises:
        RewardConfigError, RewardTimeoutError: as `follow`.
    """
    ids, prompt = row["instruction_id_list"], row.get("prompt") or ""
    forms = loose_forms(answer) if loose else [answer] if answer.strip() else []
    return [
        _follows_one(instruction_id, kwargs or {}, prompt, forms)
        for instruction_id, kwargs in zip(ids, row["kwargs"], strict=True)
    ]


def _follows_one(
    instruction_id: str, kwargs: Mapping[str, Any], prompt: str, forms: list[str]
) -> bool:
    if instruction_id not in INSTRUCTIONS:
        known = ", ".join(sorted(INSTRUCTIONS))
        raise RewardConfigError(f"{instruction_id!r} is no instruction; known are {known}")
    check_library(instruction_id)
    problem = argument_problem(instruction_id, kwargs)
    if problem is not None:
        raise RewardConfigError(problem)
    check = INSTRUCTIONS[instruction_id].check
    return any(check(form, kwargs, prompt) for form in forms)


def loose_forms(answer: str) -> list[str]:
    """Return the answer, and variants without its first line, its last line or its asterisks.

    A model that says "Sure, here it is:" first, or sets a word in bold, may have followed the
    instruction all the same. An instruction is followed loosely if one of the forms follows it.

    Returns:
        Up to 8 combinations, the answer itself first, without duplicates and blank ones.
    Source:
        Zhou et al. (2023), arXiv:2311.07911, Section 2.2.
    """
    lines = answer.split("\n")
    cuts = (lines[1:], lines[:-1], lines[1:-1])
    forms = [answer, *("\n".join(cut).strip() for cut in cuts)]
    forms += [form.replace("*", "") for form in forms]
    return [form for form in dict.fromkeys(forms) if form.strip()]
