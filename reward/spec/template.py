"""Text with the names of columns in braces."""

from __future__ import annotations

from string import Formatter
from typing import NamedTuple


class TemplatePart(NamedTuple):
    """Literal text and the name whose value follows it; the last name may be None."""

    literal: str
    name: str | None


def template_parts(template: str, example: str = "completion") -> tuple[TemplatePart, ...]:
    """Parse a format string of plain names: no attributes, indices or format codes.

    These are refused because they reach into the objects that fill the template.

    Args:
        example: a valid name, for the message.
    Raises:
        ValueError: the template is malformed, or has anything but plain names in braces.
    """
    try:
        parts = list(Formatter().parse(template))
    except ValueError as error:
        raise ValueError(f"not a format string: {error}; write literal braces twice") from None
    for _, name, code, conversion in parts:
        if name is None:
            continue
        if not name or any(mark in name for mark in ".[]") or code or conversion:
            written = name + (f"!{conversion}" if conversion else "") + (f":{code}" if code else "")
            raise ValueError(
                f"{{{written}}} is not a plain name such as {{{example}}}; "
                "write literal braces twice"
            )
    return tuple(TemplatePart(literal, name) for literal, name, _, _ in parts)
