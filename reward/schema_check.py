"""JSON Schema checks in bounded time, so that no schema and no answer can hold up a job.

jsonschema alone would search `pattern` without a limit and fetch a `$ref` that points elsewhere.
Here every keyword checks the deadline, patterns run under the `regex` package's timeout, and
references are resolved only inside the schema.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from functools import cache
from typing import Any, cast

import regex

REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
MAX_SCHEMA_DEPTH = 100
"""Deepest nesting of objects and lists in a schema."""

Keyword = Callable[[Any, Any, Any, Any], Any]
"""Function of validator, keyword value, instance and schema that yields errors."""

_deadline: ContextVar[float] = ContextVar("deadline")
"""Deadline of the running check, on the clock of `time.monotonic`."""


class SchemaError(ValueError):
    """A schema cannot be used; the message says where and why."""


def build_validator(schema: Mapping[str, Any]) -> Any:
    """Check a schema and build its validator.

    Args:
        schema: a schema of a draft that jsonschema knows; not modified.
    Returns:
        A validator for `is_satisfied`, which threads may share.
    Raises:
        SchemaError: `schema` is not a JSON Schema, has a reference that leads outside or nowhere,
            or has a pattern that cannot be compiled.
    """
    from jsonschema import exceptions
    from referencing.jsonschema import EMPTY_REGISTRY

    _refuse(schema)
    dialect = _dialect(schema)
    try:
        dialect.check_schema(schema)
        # A `$schema` left inside would bring jsonschema's own keywords back in.
        own = {key: value for key, value in schema.items() if key != "$schema"}
        _check_parts(own, dialect)
    except exceptions.SchemaError as error:
        raise SchemaError(f"not a JSON Schema: {error.message} at {error.json_path}") from error
    except RecursionError as error:
        raise SchemaError("nested too deep; make it flatter with `$defs`") from error
    return _bounded(dialect)(own, registry=EMPTY_REGISTRY)


def is_satisfied(validator: Any, value: Any, timeout_s: float) -> bool:
    """Return whether a value satisfies the schema of a validator.

    Raises:
        TimeoutError: the check took longer than `timeout_s`.
        SchemaError: the schema refers to itself without end.
    """
    token = _deadline.set(time.monotonic() + timeout_s)
    try:
        return next(validator.iter_errors(value), None) is None
    except RecursionError as error:
        raise SchemaError("the schema refers to itself without end") from error
    finally:
        _deadline.reset(token)


def _refuse(schema: Mapping[str, Any]) -> None:
    """Refuse what cannot be bounded, anywhere in a schema: a reference may lead to any part."""
    keys: set[str] = set()
    level: list[Any] = [schema]
    for _ in range(MAX_SCHEMA_DEPTH):
        objects: list[dict[Any, Any]] = [part for part in level if isinstance(part, dict)]
        for part in objects:
            keys |= {key for key in part if isinstance(key, str)}
            if part is not schema and isinstance(part.get("$schema"), str):
                raise SchemaError("`$schema` may stand at the top only")
            for key in REFERENCES:
                target = part.get(key)
                if isinstance(target, str) and not target.startswith("#"):
                    raise SchemaError(
                        f"`{key}` is {target!r}, outside the schema; nothing is fetched, so put "
                        "it under `$defs` and refer to it as '#/$defs/NAME'"
                    )
        lists: list[list[Any]] = [part for part in level if isinstance(part, list)]
        level = [inner for part in objects for inner in part.values()]
        level += [inner for part in lists for inner in part]
        if not level:
            break
    else:
        raise SchemaError(f"nested deeper than {MAX_SCHEMA_DEPTH}; make it flatter with `$defs`")
    if {"patternProperties", "unevaluatedProperties"} <= keys:
        raise SchemaError(
            "`patternProperties` and `unevaluatedProperties` cannot be used together; "
            "use `additionalProperties`"
        )


def _dialect(schema: Mapping[str, Any]) -> Any:
    from jsonschema import Draft202012Validator
    from jsonschema.validators import validator_for

    if "$schema" not in schema:
        return Draft202012Validator
    named = schema["$schema"]
    # jsonschema returns any default, whatever its annotation says.
    no_default = cast(Any, None)
    dialect = validator_for(schema, default=no_default) if isinstance(named, str) else None
    if dialect is None:
        raise SchemaError(f"`$schema` is {named!r}, which is no known draft; leave it out")
    return dialect


def _check_parts(schema: Mapping[str, Any], dialect: Any) -> None:
    """Check that references resolve and patterns compile, in every part of a schema."""
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import EMPTY_REGISTRY, specification_with

    meta = dialect.META_SCHEMA
    root = specification_with(meta.get("$id", meta.get("id"))).create_resource(schema)
    todo = [(root, EMPTY_REGISTRY.resolver_with_root(root))]
    while todo:
        part, resolver = todo.pop()
        todo += [(inner, resolver.in_subresource(inner)) for inner in part.subresources()]
        if not isinstance(part.contents, Mapping):
            continue
        contents = cast("Mapping[str, Any]", part.contents)
        patterns = [contents["pattern"]] if "pattern" in contents else []
        for pattern in [*patterns, *contents.get("patternProperties", ())]:
            try:
                regex.compile(pattern)
            except regex.error as error:
                raise SchemaError(f"pattern {pattern!r} cannot be compiled: {error}") from error
        for key in REFERENCES:
            try:
                resolver.lookup(contents.get(key, "#"))
            except Unresolvable as error:
                target = contents[key]
                raise SchemaError(f"`{key}` is {target!r}, which is not there") from error


@cache
def _bounded(dialect: Any) -> Any:
    """Return the validator class of a dialect, with keywords that check the deadline."""
    from jsonschema.validators import extend  # pyright: ignore[reportUnknownVariableType]

    keywords = {name: _timed(keyword) for name, keyword in dialect.VALIDATORS.items()}
    ours = {
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "additionalProperties": _additional_properties,
    }
    timed = {name: _timed(keyword) for name, keyword in ours.items()}
    return cast(Any, extend(dialect, keywords | timed))


def _timed(keyword: Keyword) -> Keyword:
    def timed(validator: Any, value: Any, instance: Any, schema: Any) -> Any:
        _remaining_s()
        return keyword(validator, value, instance, schema)

    return timed


def _remaining_s() -> float:
    remaining = _deadline.get() - time.monotonic()
    if remaining <= 0:
        raise TimeoutError
    return remaining


def _is_found(pattern: str, text: str) -> bool:
    return regex.search(pattern, text, timeout=_remaining_s()) is not None


def _pattern(validator: Any, pattern: str, instance: Any, _schema: Any) -> Iterator[Any]:
    from jsonschema import ValidationError

    if validator.is_type(instance, "string") and not _is_found(pattern, instance):
        yield ValidationError(f"{pattern!r} is not found")


def _pattern_properties(
    validator: Any, patterns: Mapping[str, Any], instance: Any, _schema: Any
) -> Iterator[Any]:
    if validator.is_type(instance, "object"):
        for pattern, inner in patterns.items():
            for name, value in instance.items():
                if _is_found(pattern, name):
                    yield from validator.descend(value, inner, path=name, schema_path=pattern)


def _additional_properties(
    validator: Any, allowed: Any, instance: Any, schema: Mapping[str, Any]
) -> Iterator[Any]:
    if validator.is_type(instance, "object"):
        known, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
        for name, value in instance.items():
            if name not in known and not any(_is_found(pattern, name) for pattern in patterns):
                yield from validator.descend(value, allowed, path=name)
