"""The forms of an answer that are looked at where verdicts are loose."""

from __future__ import annotations


def loose_forms(answer: str) -> list[str]:
    """The answer, and what is left of it without its first line, its last line, and its asterisks.

    A model that says "Sure, here it is:" first, or sets a word in bold, may have followed the
    instruction all the same. An instruction is followed loosely where one form follows it.

    Returns:
        The 8 combinations, the answer itself first; each once, without the blank ones.
    Source:
        Zhou et al. (2023), arXiv:2311.07911, Section 2.2.
    """
    lines = answer.split("\n")
    cuts = (lines[1:], lines[:-1], lines[1:-1])
    forms = [answer, *("\n".join(cut).strip() for cut in cuts)]
    forms += [form.replace("*", "") for form in forms]
    return [form for form in dict.fromkeys(forms) if form.strip()]
