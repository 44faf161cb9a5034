"""Texts that every supported database can store."""

from __future__ import annotations

import re

# PostgreSQL does not accept NUL, and a lone surrogate has no UTF-8 encoding.
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def storable(text: str) -> str:
    """Replace characters that a database cannot store by U+FFFD.

    For text that only describes something else, such as the end of a log: losing a character is
    better than losing the entry.
    """
    return _UNSTORABLE.sub("\ufffd", text)
