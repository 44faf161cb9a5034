"""Which instructions can be followed together, and on which requests.

The table comes from what each check counts, held against the pairs that IFEval's own prompts have.
It is stricter than IFEval where both can be met only by luck (two sentence-like counts at once).
"""

from __future__ import annotations

import re
from typing import Any

from arguments import AT_LEAST, LESS_THAN, REPEAT_PROMPT, SHARES, Instruction

# These types take the whole answer; only the partners listed here leave it intact.
PARTNERS = {
    "detectable_format:constrained_response": (),
    "detectable_format:json_format": (
        "keywords:existence", "keywords:forbidden_words", "keywords:frequency",
    ),
    # No English words or labels, and no counts of words or sentences as English has them.
    "language:response_language": (
        "combination:two_responses", "detectable_content:number_placeholders",
        "detectable_format:number_bullet_lists", "detectable_format:number_highlighted_sections",
        "detectable_format:title", "length_constraints:number_paragraphs", "punctuation:no_comma",
        "startend:quotation",
    ),
    # The copied request counts as part of the answer: nothing that limits, counts or recases it.
    REPEAT_PROMPT: (
        "detectable_content:number_placeholders", "detectable_format:number_highlighted_sections",
        "detectable_format:title", "keywords:existence", "punctuation:no_comma",
        "startend:end_checker",
    ),
    "combination:two_responses": (
        "change_case:english_capital", "change_case:english_lowercase",
        "detectable_format:title", "keywords:existence", "keywords:forbidden_words",
        "keywords:frequency", "keywords:letter_frequency", "language:response_language",
        "length_constraints:number_words", "punctuation:no_comma",
    ),
}  # fmt: skip
# Of every type on the left: those it cannot stand beside.
CONFLICTS = {
    "change_case:english_capital": (
        "change_case:english_lowercase", "change_case:capital_word_frequency",
        "detectable_format:multiple_sections", "startend:end_checker",
    ),
    "change_case:english_lowercase": (
        "change_case:capital_word_frequency", "detectable_content:postscript",
        "detectable_format:multiple_sections", "startend:end_checker",
    ),
    # Labels such as P.S. and PART are words in capitals.
    "change_case:capital_word_frequency": (
        "detectable_content:postscript", "detectable_format:multiple_sections",
    ),
    # Two ways of cutting the answer into parts.
    "length_constraints:number_paragraphs": (
        "length_constraints:nth_paragraph_first_word", "detectable_format:multiple_sections",
        "length_constraints:number_sentences", "length_constraints:number_words",
    ),
    # Whatever tends to stand in a paragraph of its own changes the number of paragraphs.
    "length_constraints:nth_paragraph_first_word": (
        "detectable_format:multiple_sections", "detectable_format:title",
        "detectable_format:number_bullet_lists", "detectable_content:postscript",
        "startend:end_checker", "length_constraints:number_sentences",
        "length_constraints:number_words",
    ),
    # Bullets, numbered labels and "P.S." confuse the count of sentences.
    "length_constraints:number_sentences": (
        "detectable_format:multiple_sections", "detectable_format:number_bullet_lists",
        "detectable_content:postscript", "length_constraints:number_words",
    ),
    "length_constraints:number_words": ("detectable_format:multiple_sections",),
    # Both use asterisks; and a quotation mark before the first asterisk makes it no bullet.
    "detectable_format:number_bullet_lists": (
        "detectable_format:number_highlighted_sections", "startend:quotation",
    ),
    # Three ways to end an answer.
    "detectable_content:postscript": ("startend:end_checker", "startend:quotation"),
    "startend:end_checker": ("startend:quotation",),
}  # fmt: skip
# A line or two cannot be cut into parts.
NOT_ON_SHORT = {
    "detectable_format:multiple_sections",
    "detectable_format:number_bullet_lists",
    "length_constraints:number_paragraphs",
    "length_constraints:nth_paragraph_first_word",
}
COUNTS = {"length_constraints:number_sentences", "length_constraints:number_words"}


def are_compatible(left: str, right: str) -> bool:
    """Whether one answer can follow instructions of both types; a type is not put beside itself."""
    if left == right or right in CONFLICTS.get(left, ()) or left in CONFLICTS.get(right, ()):
        return False
    return right in PARTNERS.get(left, SHARES) and left in PARTNERS.get(right, SHARES)


def fits_request(instructions: list[Instruction], *, is_short: bool) -> bool:
    """Whether a request for a line or two leaves room for the instructions."""
    return not is_short or not any(
        each.id in NOT_ON_SHORT or (each.id in COUNTS and each.arguments["relation"] == AT_LEAST)
        for each in instructions
    )


def can_be_followed(instructions: list[Instruction]) -> bool:
    """Whether the arguments leave an answer that follows all instructions of compatible types."""
    arguments = {each.id: each.arguments for each in instructions}
    needed = required_text(instructions).lower()
    return (
        _keywords_agree(arguments, needed)
        and _letters_agree(arguments, needed)
        and _words_suffice(arguments)
        and _sentences_suffice(arguments)
    )


def _keywords_agree(arguments: dict[str, dict[str, Any]], needed: str) -> bool:
    forbidden = arguments.get("keywords:forbidden_words", {}).get("forbidden_words", ())
    if any(re.search(rf"\b{re.escape(word)}\b", needed) for word in forbidden):
        return False
    frequency = arguments.get("keywords:frequency", {})
    return frequency.get("relation") != LESS_THAN or frequency["keyword"] not in needed


def _letters_agree(arguments: dict[str, dict[str, Any]], needed: str) -> bool:
    letter = arguments.get("keywords:letter_frequency")
    if letter is None:
        return True
    if letter["let_relation"] == LESS_THAN:
        return needed.count(letter["letter"]) < letter["let_frequency"]
    # Every "!" ends a sentence.
    return letter["letter"] != "!" or "length_constraints:number_sentences" not in arguments


def _words_suffice(arguments: dict[str, dict[str, Any]]) -> bool:
    """A letter in eight words, a bullet in ten and an answer in twenty need no contortions."""
    words = arguments.get("length_constraints:number_words", {})
    if words.get("relation") != LESS_THAN:
        return True
    letter = arguments.get("keywords:letter_frequency", {})
    letters = letter["let_frequency"] if letter.get("let_relation") == AT_LEAST else 0
    bullets = arguments.get("detectable_format:number_bullet_lists", {}).get("num_bullets", 0)
    answers = 2 if "combination:two_responses" in arguments else 1
    return words["num_words"] >= max(8 * letters, 10 * bullets, 20 * answers)


def _sentences_suffice(arguments: dict[str, dict[str, Any]]) -> bool:
    """A phrase to end on is a sentence of its own."""
    sentences = arguments.get("length_constraints:number_sentences", {})
    return (
        sentences.get("relation") != LESS_THAN
        or sentences["num_sentences"] > 2
        or "startend:end_checker" not in arguments
    )


def required_text(instructions: list[Instruction]) -> str:
    """Everything that the instructions, taken by themselves, put into an answer word for word."""
    parts: list[str] = []
    for each in instructions:
        arguments = each.arguments
        parts += arguments.get("keywords", ())
        parts += [arguments[name] for name in ("end_phrase", "first_word") if name in arguments]
        parts += [arguments.get("section_spliter", "")] * arguments.get("num_sections", 0)
        if arguments.get("relation") == AT_LEAST and "keyword" in arguments:
            parts += [arguments["keyword"]] * arguments["frequency"]
    return " ".join(parts)
