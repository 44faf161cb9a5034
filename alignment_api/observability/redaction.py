"""Keep secrets out of the log."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping

HIDDEN = "[hidden]"
_SHORTEST = 4
"""Shorter values occur in too many words to be hidden, and are too short to be secrets."""

_SECRET_NAME = re.compile(r"(API_?KEY|TOKEN|PASSWORD|SECRET)$|^ESSA_REWARD_SECRET_")
"""Names of environment variables whose values are hidden, also those of W&B, MLflow and the hub."""

_PATTERNS = (
    # A header, as it appears in requests, dictionaries and tuples of bytes.
    (
        re.compile(
            r"(authorization['\"]?\s*[:=,]\s*(?:b?['\"])?(?:[A-Za-z]+\s+)?)[^\s'\",}]+",
            re.IGNORECASE,
        ),
        r"\1",
    ),
    (re.compile(r"(\bbearer\s+)[^\s'\",}\\]{8,}", re.IGNORECASE), r"\1"),
    # Our own keys, wherever they occur.
    (re.compile(r"(\bessa-)[A-Za-z0-9_-]{43}"), r"\1"),
    # The password in a URL.
    (re.compile(r"(\w://[^\s/:@'\"]*:)[^\s@/'\"]+(?=@)"), r"\1"),
)


def secrets_of(environment: Mapping[str, str]) -> list[str]:
    """Return the values of variables that are named like secrets."""
    return [value for name, value in environment.items() if _SECRET_NAME.search(name)]


class Redactor:
    """Replaces secrets in a text.

    Args:
        secrets: values to hide, in addition to everything that looks like a key or a password.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        kept = {secret for secret in secrets if len(secret) >= _SHORTEST}
        # Inside JSON and repr(), quotes and non-ASCII characters are escaped.
        forms = {form for secret in kept for form in (secret, json.dumps(secret)[1:-1])}
        forms |= {repr(secret)[1:-1] for secret in kept}
        longest_first = sorted(forms, key=len, reverse=True)
        self._values = re.compile("|".join(map(re.escape, longest_first))) if forms else None

    def clean(self, text: str) -> str:
        """Return the text without its secrets."""
        if self._values is not None:
            text = self._values.sub(HIDDEN, text)
        for pattern, kept in _PATTERNS:
            text = pattern.sub(kept + HIDDEN, text)
        return text
