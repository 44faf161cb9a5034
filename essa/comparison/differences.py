"""Differences between two specifications, setting by setting."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from essa.types import is_mapping


def differences(shared: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Return both values of each differing setting as JSON, by dotted name; blank if missing."""
    ours, theirs = _leaves(shared), _leaves(other)
    names = sorted(ours.keys() | theirs.keys())
    return {
        name: (ours.get(name, ""), theirs.get(name, ""))
        for name in names
        if ours.get(name) != theirs.get(name)
    }


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in tree.items():
        if is_mapping(value) and value:
            found |= _leaves(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = json.dumps(value)
    return found
