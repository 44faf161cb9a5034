"""One thing that was looked at."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class State(StrEnum):
    """How serious a finding is."""

    OK = "ok"
    WARNING = "warning"
    """Works, but not as well as it could, or not for every job."""
    FAILURE = "failure"
    """Jobs or the service cannot run like this."""


class Finding(NamedTuple):
    """One line of the report."""

    check: str
    state: State
    seen: str
    advice: str | None = None
    """What to do; None where nothing is to be done."""


def ok(check: str, seen: str) -> Finding:
    """As it should be."""
    return Finding(check, State.OK, seen)


def warning(check: str, seen: str, advice: str) -> Finding:
    """Could be better."""
    return Finding(check, State.WARNING, seen, advice)


def failure(check: str, seen: str, advice: str) -> Finding:
    """Must be put right."""
    return Finding(check, State.FAILURE, seen, advice)
