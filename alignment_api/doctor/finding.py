"""The result of one check."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class State(StrEnum):
    """How serious a finding is."""

    OK = "ok"
    WARNING = "warning"
    """It works, but not as well as it could, or not for every job."""
    FAILURE = "failure"
    """Jobs or the service cannot run this way."""


class Finding(NamedTuple):
    """One line of the report."""

    check: str
    state: State
    seen: str
    advice: str | None = None
    """How to fix the problem; None if there is none."""


def ok(check: str, seen: str) -> Finding:
    """Make a finding that needs no action."""
    return Finding(check, State.OK, seen)


def warning(check: str, seen: str, advice: str) -> Finding:
    """Make a finding about something that could be better."""
    return Finding(check, State.WARNING, seen, advice)


def failure(check: str, seen: str, advice: str) -> Finding:
    """Make a finding about something that has to be fixed."""
    return Finding(check, State.FAILURE, seen, advice)
