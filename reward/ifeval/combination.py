"""Instructions `combination:*`: the prompt repeated, or two answers in one.

Every check takes the answer, the arguments of its instruction and the prompt.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reward.ifeval.length import non_blank


def repeat_prompt(text: str, kwargs: Mapping[str, Any], prompt: str) -> bool:
    """Return whether the answer starts with the text to be repeated, in any case.

    That text is `prompt_to_repeat`, or the prompt if it is not given.
    """
    wanted = kwargs.get("prompt_to_repeat") or prompt
    return text.strip().lower().startswith(wanted.strip().lower())


def two_responses(text: str, kwargs: Mapping[str, Any], prompt: str) -> bool:
    """Return whether there are two different answers, separated by `******`.

    Blank answers may stand only at both ends.
    """
    answers = non_blank(text.split("******"))
    if answers is None or len(answers) != 2:
        return False
    return answers[0].strip() != answers[1].strip()
