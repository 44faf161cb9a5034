"""Lay a part of a specification over a whole one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_TAGS = ("type", "kind")


def overlay(whole: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of `whole` with `changes` in it, section by section.

    A section that becomes another variant (its `type` or `kind` changes) is replaced, for the
    fields of the old one would mean nothing to the new. So is a data set that gets another source.
    """
    merged = dict(whole)
    for name, value in changes.items():
        old = merged.get(name)
        if isinstance(value, Mapping) and isinstance(old, Mapping) and not _is_other(old, value):
            merged[name] = overlay(old, value)
        else:
            merged[name] = value
    return merged


def _is_other(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    if {"path", "file_id"} & new.keys() and "file_id" in old:
        return True
    return any(tag in new and new[tag] != old.get(tag) for tag in _TAGS)
