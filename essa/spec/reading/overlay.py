"""Apply a partial specification to a whole one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from essa.spec.base import SpecModel
from essa.spec.job import AlignmentJobSpec
from essa.types import is_mapping

_TAGS = ("type", "kind")


def overlay(whole: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of `whole` with `changes` applied, section by section.

    A section whose variant (`type` or `kind`) changes is replaced, because the old variant's fields
    mean nothing to the new one; so is a data set whose source changes.
    """
    merged = dict(whole)
    for name, value in changes.items():
        old = merged.get(name)
        if is_mapping(value) and is_mapping(old) and not _is_other(old, value):
            merged[name] = overlay(old, value)
        else:
            merged[name] = value
    return merged


def with_default_variants(raw: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of an unvalidated job, prepared for changes.

    A section that the job leaves at its default and `changes` alters gets the tag of that default,
    so that `search.sigma_init` can be changed without naming the search.
    """
    filled = dict(raw)
    for name, value in changes.items():
        field = AlignmentJobSpec.model_fields.get(name)
        default = None if field is None else field.default
        if is_mapping(value) and name not in raw and isinstance(default, SpecModel):
            known = type(default).model_fields
            filled[name] = {tag: getattr(default, tag) for tag in _TAGS if tag in known}
    return filled


def _is_other(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    if {"path", "file_id"} & new.keys() and "file_id" in old:
        return True
    return any(tag in new and new[tag] != old.get(tag) for tag in _TAGS)
