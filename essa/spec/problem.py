"""What is wrong with a setting, in terms a user can act on."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

_REQUEST_PARTS = ("body.", "query.", "path.", "header.")
_LONGEST_VALUE = 80


@dataclass(frozen=True)
class Problem:
    """One setting that cannot be used: its dotted name, its value, and what to do about it.

    `value` None means that there is no value to show.
    """

    field: str
    value: Any
    fix: str

    def __str__(self) -> str:
        """One line: field, value, fix."""
        shown = "" if self.value is None else f" = {_short(self.value)}"
        return f"{self.field}{shown}: {self.fix}" if self.field else self.fix

    def without_prefix(self) -> Problem:
        """The same without the part of an HTTP request that it came in."""
        for part in _REQUEST_PARTS:
            if self.field.startswith(part):
                return replace(self, field=self.field.removeprefix(part))
        return replace(self, field="") if self.field == "body" else self


def problems_of(errors: Sequence[Mapping[str, Any]], raw: Any) -> list[Problem]:
    """Turn pydantic's errors into problems, one per field, in pydantic's order.

    Pydantic puts the tags of unions into an error's place; they are not part of what the user
    wrote, so `raw`, the input that was validated, decides which parts are shown.

    Args:
        errors: what `ValidationError.errors()` returned.
        raw: the validated input.
    """
    found: dict[str, Problem] = {}
    for error in errors:
        if _is_echo(error):
            continue
        field = _written_path(error, raw)
        problem = Problem(field, _shown_value(error), _fix(error))
        earlier = found.get(field)
        if earlier is None:
            found[field] = problem
        elif problem.fix not in earlier.fix:
            # Branches of a plain union, such as `auto` or a number, fail one by one.
            found[field] = replace(earlier, fix=f"{earlier.fix}, or {problem.fix}")
    return list(found.values())


def _is_echo(error: Mapping[str, Any]) -> bool:
    """True for "too short" about a list that is long enough: its items are at fault, and told."""
    given = error.get("input")
    return (
        error["type"] == "too_short"
        and isinstance(given, list | tuple)
        and len(given) >= error["ctx"]["min_length"]
    )


def _written_path(error: Mapping[str, Any], raw: Any) -> str:
    parts: list[str] = []
    here = raw
    place = error["loc"]
    for position, part in enumerate(place):
        is_last = position == len(place) - 1
        if _has(here, part):
            here = here[part]
        elif not (is_last and error["type"] == "missing"):
            continue
        parts.append(str(part))
    return ".".join(parts) or ".".join(str(part) for part in place)


def _has(here: Any, part: str | int) -> bool:
    if isinstance(here, Mapping):
        return part in here
    return isinstance(here, list | tuple) and isinstance(part, int) and part < len(here)


def _shown_value(error: Mapping[str, Any]) -> Any:
    if error["type"] in ("missing", "union_tag_not_found"):
        return None
    return error.get("input")


def _fix(error: Mapping[str, Any]) -> str:
    context = error.get("ctx") or {}
    match error["type"]:
        case "missing":
            return "is missing; add it"
        case "extra_forbidden":
            return f"there is no such setting; {_suggestion(str(error['loc'][-1]))}"
        case "union_tag_not_found":
            return f"add {context['discriminator']}"
        case "union_tag_invalid":
            return f"set {context['discriminator']} to one of {context['expected_tags']}"
        case "greater_than_equal":
            return f"set it to {context['ge']:g} or more"
        case "greater_than":
            return f"set it above {context['gt']:g}"
        case "less_than_equal":
            return f"set it to {context['le']:g} or less"
        case "less_than":
            return f"set it below {context['lt']:g}"
        case "literal_error" | "enum":
            return f"set it to {context['expected']}"
        case "value_error":
            return str(error["msg"]).removeprefix("Value error, ")
    return str(error["msg"]).replace("Input should be", "must be")


def _suggestion(name: str) -> str:
    near = difflib.get_close_matches(name, _known_names(), n=1)
    return f"did you mean `{near[0]}`? Otherwise remove it" if near else "remove it"


@cache
def _known_names() -> tuple[str, ...]:
    from essa.spec.job import AlignmentJobSpec

    schema = AlignmentJobSpec.model_json_schema()
    names = set(schema["properties"])
    for definition in schema["$defs"].values():
        names |= set(definition.get("properties", {}))
    return tuple(sorted(names))


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 3] + "..."
