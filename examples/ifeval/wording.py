"""Puts a request and its instructions into words."""

from __future__ import annotations

import random
from typing import Any

from arguments import LANGUAGES, REPEAT_PROMPT, Instruction

Wordings = dict[str, Any]
"""What wordings.yaml holds: id -> wordings, or id -> relation -> wordings."""
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
ORDINALS = ("", "first", "second", "third", "fourth")
COUNT_NAMES = ("frequency", "let_frequency", "capital_frequency")


def write_prompt(
    request: str, instructions: list[Instruction], wordings: Wordings, rng: random.Random
) -> str:
    """Request and instructions as one text, in one of several layouts."""
    phrases = [write_instruction(each, wordings, rng) for each in instructions]
    if any("\n" in phrase for phrase in phrases):
        return "\n".join([request, *phrases])
    layouts = ["{request} {inline}", "{request} {inline}", "{request}\n{lines}"]
    if len(phrases) == 1:
        layouts.append("{inline}\n\n{request}")
    else:
        layouts.append("{request}\n{numbered}")
    return rng.choice(layouts).format(
        request=request,
        inline=" ".join(phrases),
        lines="\n".join(phrases),
        numbered="\n".join(f"{n}. {phrase}" for n, phrase in enumerate(phrases, start=1)),
    )


def write_instruction(instruction: Instruction, wordings: Wordings, rng: random.Random) -> str:
    """One of the wordings of an instruction, filled in."""
    arguments = instruction.arguments
    choices = wordings[instruction.id]
    if isinstance(choices, dict):
        relation = next(value for name, value in arguments.items() if name.endswith("relation"))
        choices = choices["none" if arguments.get("let_frequency") == 1 else relation]
    return rng.choice(choices).format(**_fields(arguments, rng))


def ask_to_repeat(text: str, wordings: Wordings, rng: random.Random) -> str:
    """A prompt that wants `text` copied before the answer."""
    wanted = wordings[REPEAT_PROMPT]
    if rng.random() < 0.4:
        return f"{rng.choice(wanted['before'])}\n\n{text}"
    return f"{text}\n\n{rng.choice(wanted['after'])}"


def _fields(arguments: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    """What the placeholders of a wording stand for."""
    spells_out = rng.random() < 0.3

    def number(value: int) -> str:
        return NUMBERS[value] if spells_out and value < len(NUMBERS) else str(value)

    def times(value: int) -> str:
        return {1: "once", 2: "twice"}.get(value, f"{number(value)} times")

    count = next(
        (v for name, v in arguments.items() if name in COUNT_NAMES or name.startswith("num_")), 0
    )
    fields = dict(arguments)
    if count:
        fields |= {"n": number(count), "s": "" if count == 1 else "s", "times": times(count)}
        fields |= {"below": number(count - 1), "below_s": "" if count == 2 else "s"}
        fields |= {"below_times": times(count - 1)}
    for name in ("keywords", "forbidden_words"):
        if name in arguments:
            fields["items"] = " and ".join(f'"{word}"' for word in arguments[name])
    if "letter" in arguments:
        fields["letter"] = f'"{arguments["letter"]}"'
    if "language" in arguments:
        fields["language"] = LANGUAGES[arguments["language"]]
    if "nth_paragraph" in arguments:
        fields["nth"] = ORDINALS[arguments["nth_paragraph"]]
    fields["splitter"] = arguments.get("section_spliter", "")
    fields["marker"] = arguments.get("postscript_marker", "")
    return fields
