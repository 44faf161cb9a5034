"""Texts that every database holds."""

from __future__ import annotations

import re

# NUL is none for PostgreSQL, and half of a surrogate pair is not in UTF-8.
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def storable(text: str) -> str:
    """The text with U+FFFD for what a database may not hold.

    For what is written down about something else, such as the end of a log: losing a character is
    better than losing the entry.
    """
    return _UNSTORABLE.sub("\ufffd", text)
