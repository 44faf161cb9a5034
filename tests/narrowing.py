"""What a test knows about a value and its type leaves open."""

from __future__ import annotations

from typing import TypeVar

Value = TypeVar("Value")


def present(value: Value | None) -> Value:
    """The value; fails where it is None."""
    assert value is not None
    return value


def of_kind(kind: type[Value], value: object) -> Value:
    """The value; fails where it is of another class."""
    assert isinstance(value, kind)
    return value
