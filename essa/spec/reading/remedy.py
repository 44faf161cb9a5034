"""Remedies for settings that pydantic refused, in words."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

_PHRASES = {
    "missing": "is missing; add it",
    "union_tag_not_found": "add {discriminator}",
    "union_tag_invalid": "set {discriminator} to one of {expected_tags}",
    "greater_than_equal": "set it to {ge:g} or more",
    "greater_than": "set it above {gt:g}",
    "less_than_equal": "set it to {le:g} or less",
    "less_than": "set it below {lt:g}",
    "literal_error": "set it to {expected}",
    "enum": "set it to {expected}",
    "string_pattern_mismatch": "write it as the pattern {pattern} asks",
    "string_too_long": "shorten it to {max_length} characters",
    "too_long": "give {max_length} entries at most",
    **dict.fromkeys(("bool_type", "bool_parsing"), "set it to true or false"),
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "give a whole number"),
    **dict.fromkeys(("float_type", "float_parsing"), "give a number"),
    "finite_number": "give a finite number",
    "string_type": "give text, in quotes",
    **dict.fromkeys(
        ("dict_type", "model_type", "model_attributes_type"), "give a mapping of settings"
    ),
}
"""Remedies by pydantic's error type; names in braces come from the error's context."""


def remedy(error: Mapping[str, Any]) -> str:
    """Return how to fix an error.

    Args:
        error: an item of `ValidationError.errors()`.
    """
    kind: str = error["type"]
    context: Mapping[str, Any] = error.get("ctx") or {}
    if kind in _PHRASES:
        return _PHRASES[kind].format(**context)
    if kind in _WORDINGS:
        return _WORDINGS[kind](error, context)
    return str(error["msg"]).replace("Input should be", "must be")


def _own_words(error: Mapping[str, Any], context: Mapping[str, Any]) -> str:
    """Return the message of one of our own validators."""
    return str(error["msg"]).removeprefix("Value error, ")


def _no_such_setting(error: Mapping[str, Any], context: Mapping[str, Any]) -> str:
    name = str(error["loc"][-1])
    if name in _known_names():
        return "there is no such setting here; remove it, or move it to where it belongs"
    near = difflib.get_close_matches(name, _known_names(), n=1)
    advice = f"did you mean `{near[0]}`? Otherwise remove it" if near else "remove it"
    return f"there is no such setting; {advice}"


def _a_list(error: Mapping[str, Any], context: Mapping[str, Any]) -> str:
    given = error.get("input")
    return f"give a list, such as [{given!r}]" if isinstance(given, str) else "give a list"


def _longer(error: Mapping[str, Any], context: Mapping[str, Any]) -> str:
    least = context["min_length"]
    if error["type"] == "string_too_short":
        return "give some text" if least == 1 else f"give {least} characters or more"
    return f"give {least} {'entry' if least == 1 else 'entries'} or more"


_WORDINGS: dict[str, Callable[[Mapping[str, Any], Mapping[str, Any]], str]] = {
    "value_error": _own_words,
    "extra_forbidden": _no_such_setting,
    "tuple_type": _a_list,
    "list_type": _a_list,
    "string_too_short": _longer,
    "too_short": _longer,
}


@cache
def _known_names() -> tuple[str, ...]:
    from essa.spec.job import AlignmentJobSpec

    schema = AlignmentJobSpec.model_json_schema()
    names = set(schema["properties"])
    for definition in schema["$defs"].values():
        names |= set(definition.get("properties", {}))
    return tuple(sorted(names))
