"""Every instruction: its check, its arguments, the library it needs."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Mapping
from functools import cache
from importlib.util import find_spec
from typing import Any, NamedTuple

from reward.errors import RewardConfigError
from reward.ifeval import combination, content, ending, keyword, length, letter_case, shape
from reward.ifeval.argument import (
    Argument,
    count,
    letter,
    pattern,
    patterns,
    relation,
    text,
)
from reward.ifeval.language import language, response_language


class Instruction(NamedTuple):
    """The check of one kind of instruction.

    Attributes:
        check: function of the answer, which is not blank, the arguments and the prompt.
        library: module that the check needs.
    """

    check: Callable[[str, Mapping[str, Any], str], bool]
    arguments: tuple[Argument, ...] = ()
    library: str | None = None


INSTRUCTIONS: dict[str, Instruction] = {
    "change_case:capital_word_frequency": Instruction(
        letter_case.capital_word_frequency,
        (relation("capital_relation"), count("capital_frequency")),
        "nltk",
    ),
    "change_case:english_capital": Instruction(letter_case.english_capital, (), "langdetect"),
    "change_case:english_lowercase": Instruction(letter_case.english_lowercase, (), "langdetect"),
    "combination:repeat_prompt": Instruction(
        combination.repeat_prompt, (text("prompt_to_repeat", optional=True),)
    ),
    "combination:two_responses": Instruction(combination.two_responses),
    "detectable_content:number_placeholders": Instruction(
        content.number_placeholders, (count("num_placeholders"),)
    ),
    "detectable_content:postscript": Instruction(
        content.postscript, (pattern("postscript_marker"),)
    ),
    "detectable_format:constrained_response": Instruction(shape.constrained_response),
    "detectable_format:json_format": Instruction(shape.json_format),
    "detectable_format:multiple_sections": Instruction(
        shape.multiple_sections, (pattern("section_spliter"), count("num_sections"))
    ),
    "detectable_format:number_bullet_lists": Instruction(
        shape.number_bullet_lists, (count("num_bullets"),)
    ),
    "detectable_format:number_highlighted_sections": Instruction(
        shape.number_highlighted_sections, (count("num_highlights"),)
    ),
    "detectable_format:title": Instruction(shape.title),
    "keywords:existence": Instruction(keyword.existence, (patterns("keywords"),)),
    "keywords:forbidden_words": Instruction(
        keyword.forbidden_words, (patterns("forbidden_words"),)
    ),
    "keywords:frequency": Instruction(
        keyword.frequency, (pattern("keyword"), relation("relation"), count("frequency"))
    ),
    "keywords:letter_frequency": Instruction(
        keyword.letter_frequency,
        (letter("letter"), relation("let_relation"), count("let_frequency")),
    ),
    "language:response_language": Instruction(
        response_language, (language("language"),), "langdetect"
    ),
    "length_constraints:nth_paragraph_first_word": Instruction(
        length.nth_paragraph_first_word,
        (count("num_paragraphs", 1), count("nth_paragraph", 1), text("first_word")),
    ),
    "length_constraints:number_paragraphs": Instruction(
        length.number_paragraphs, (count("num_paragraphs"),)
    ),
    "length_constraints:number_sentences": Instruction(
        length.number_sentences, (relation("relation"), count("num_sentences")), "nltk"
    ),
    "length_constraints:number_words": Instruction(
        length.number_words, (relation("relation"), count("num_words"))
    ),
    "punctuation:no_comma": Instruction(ending.no_comma),
    "startend:end_checker": Instruction(ending.end_checker, (text("end_phrase"),)),
    "startend:quotation": Instruction(ending.quotation),
}


def check_library(instruction_id: str) -> None:
    """Check that the library that a known instruction needs is installed.

    Raises:
        RewardConfigError: the library is not installed.
    """
    library = INSTRUCTIONS[instruction_id].library
    if library is not None and not _is_installed(library):
        raise RewardConfigError(
            f"{instruction_id} needs {library}, which is not installed: "
            "pip install 'essa-service[rewards]'"
        )


def argument_problem(instruction_id: str, kwargs: Mapping[str, Any]) -> str | None:
    """Return what is wrong with the arguments of a known instruction, None if they can be used.

    A null counts as an argument that is not given: data sets in tables fill gaps with nulls.
    """
    given = {name: value for name, value in kwargs.items() if value is not None}
    arguments = {argument.name: argument for argument in INSTRUCTIONS[instruction_id].arguments}
    for name, argument in arguments.items():
        if name in given and not argument.usable(given[name]):
            found = reprlib.repr(given[name])
            return f"{instruction_id} has `{name}` {found}; it takes {argument.wanted}"
        if name not in given and not argument.optional:
            return f"{instruction_id} lacks `{name}`: {argument.wanted}"
    unknown = sorted(set(given) - set(arguments))
    if unknown:
        takes = ", ".join(arguments) or "none"
        return f"{instruction_id} does not take `{unknown[0]}`; its arguments: {takes}"
    return None


@cache
def _is_installed(library: str) -> bool:
    return find_spec(library) is not None
