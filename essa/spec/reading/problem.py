"""Problems with settings, in terms that a user can act on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeGuard

from essa.spec.base import SettingError
from essa.spec.reading.remedy import remedy
from essa.types import is_mapping

_REQUEST_PARTS = ("body.", "query.", "path.", "header.")
_LONGEST_VALUE = 80


@dataclass(frozen=True)
class Problem:
    """One invalid setting: its dotted name, its value, and the remedy.

    `value` is None if there is no value to show.
    """

    field: str
    value: Any
    fix: str

    def __str__(self) -> str:
        """Format as one line: field, value, fix."""
        shown = "" if self.value is None else f" = {_short(self.value)}"
        return f"{self.field}{shown}: {self.fix}" if self.field else self.fix

    def without_prefix(self) -> Problem:
        """Return the problem without the HTTP request's prefix, such as `body.`, in its field."""
        for part in _REQUEST_PARTS:
            if self.field.startswith(part):
                return replace(self, field=self.field.removeprefix(part))
        return replace(self, field="") if self.field == "body" else self


def problems_of(errors: Sequence[Mapping[str, Any]], raw: Any) -> list[Problem]:
    """Turn pydantic's errors into problems, one per field, in pydantic's order.

    Pydantic includes the tags of unions in an error's location. They are not part of the user's
    input, so the location's parts are shown only if they occur in `raw`.

    Args:
        errors: result of `ValidationError.errors()`.
        raw: the validated input.
    """
    found: dict[str, Problem] = {}
    for error in errors:
        if _is_echo(error):
            continue
        problem = _told_by_setting(error) or Problem(
            _written_path(error, raw), _shown_value(error), remedy(error)
        )
        field = problem.field
        earlier = found.get(field)
        if earlier is None:
            found[field] = problem
        elif problem.fix not in earlier.fix:
            # Each branch of a plain union, such as `auto` or a number, has its own error.
            found[field] = replace(earlier, fix=f"{earlier.fix}, or {problem.fix}")
    return list(found.values())


def _told_by_setting(error: Mapping[str, Any]) -> Problem | None:
    context: Mapping[str, Any] = error.get("ctx") or {}
    cause = context.get("error")
    if not isinstance(cause, SettingError):
        return None
    return Problem(cause.field, cause.value, cause.fix)


def _is_echo(error: Mapping[str, Any]) -> bool:
    """Return whether "too short" is about a list that is long enough, as its items are invalid."""
    given = error.get("input")
    return (
        error["type"] == "too_short"
        and _is_list(given)
        and len(given) >= error["ctx"]["min_length"]
    )


def _written_path(error: Mapping[str, Any], raw: Any) -> str:
    written: list[str] = []
    left = [str(part) for part in error["loc"]]
    here, is_entered = raw, True
    for position, part in enumerate(error["loc"]):
        # The tag of a union may also be the name of a setting, like `keywords`; the tag is first.
        if is_entered and _is_tag(here, part):
            is_entered = False
            left.remove(str(part))
            continue
        if _has(here, part):
            here, is_entered = here[part], True
        elif not (position == len(error["loc"]) - 1 and error["type"] == "missing"):
            continue
        written.append(str(part))
    return ".".join(written or left)


def _is_tag(here: Any, part: str | int) -> bool:
    return is_mapping(here) and part in (here.get("type"), here.get("kind"))


def _has(here: Any, part: str | int) -> bool:
    if isinstance(here, Mapping):
        return part in here
    return _is_list(here) and isinstance(part, int) and part < len(here)


def _is_list(value: object) -> TypeGuard[Sequence[Any]]:
    return isinstance(value, list | tuple)


def _shown_value(error: Mapping[str, Any]) -> Any:
    if error["type"] in ("missing", "union_tag_not_found"):
        return None
    return error.get("input")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 3] + "..."
